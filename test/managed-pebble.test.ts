// Certificates of this machine and for another, from a real CA: proven by http-01, installed, sealed, renewed.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { runCommand } from './command.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const openssl = (...args: string[]) => execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' })

test('a folder and a sealed box from Pebble, each with its own key, renewed with another', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv') || !requirePeer(t, 'openssl')) return
  await using pebble = await startPebble({ authzReuse: 0, nonceReject: 15 })
  using folder = makeTempFolder('managed-pebble')
  const at = (name: string) => join(folder.path, name)
  openssl('ecparam', '-name', 'secp384r1', '-genkey', '-noout', '-out', at('printer.key'))
  openssl('pkey', '-in', at('printer.key'), '-pubout', '-out', at('printer.pub'))
  await using acmems = await startAcmems(
    `${accountAndHttp01(pebble)}[auth "printers"]\nip = 127.0.0.1\ndomain = nothing.example.org\n` +
      `[certificate "web"]\ndomain = www.example.org\ndirectory = ${at('web')}\nhook = echo ran >> ${at('hook')}\n` +
      `[certificate "printer"]\ndomain = printer.example.org\nrecipient = ${at('printer.pub')}\nauth = printers\n`,
    { folder: folder.path },
  )
  const patiently = async <T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> => {
    for (let i = 0; i < 600; i++, await sleep(100)) {
      const found = await look()
      if (found !== undefined) return found
    }
    return assert.fail(`${what}: ${acmems.log()}`)
  }
  const installed = () =>
    existsSync(at('web/privkey.pem')) ? new X509Certificate(readFileSync(at('web/cert.pem'))) : undefined
  const box = async () => {
    const reply = await fetch(`http://127.0.0.1:${acmems.mgmtPort}/box/printer`)
    return reply.status === 200 ? await reply.text() : undefined
  }
  const opened = (text: string) => {
    writeFileSync(at('box.pem'), text)
    const key = openssl('cms', '-decrypt', '-inform', 'PEM', '-in', at('box.pem'), '-inkey', at('printer.key'))
    writeFileSync(at('opened.key'), key)
    return {
      key: openssl('pkey', '-in', at('opened.key'), '-pubout'),
      leaf: new X509Certificate(text.slice(text.indexOf('-----BEGIN CERT'))),
    }
  }
  const web = await patiently('the folder', installed)
  const printer = opened(await patiently('the box', box))
  assert.equal(
    openssl('pkey', '-in', at('web/privkey.pem'), '-pubout'),
    web.publicKey.export({ type: 'spki', format: 'pem' }),
  )
  assert.equal(printer.key, printer.leaf.publicKey.export({ type: 'spki', format: 'pem' }))
  assert.match(printer.leaf.issuer, /Pebble/)
  await patiently('the hook', () => (existsSync(at('hook')) ? true : undefined))

  const { code, err } = await runCommand([
    ...['certs', 'renew', web.serialNumber, printer.leaf.serialNumber, acmems.configFile],
  ])
  assert.equal(code, 0, err)
  const nextWeb = await patiently('the next folder', () => {
    const now = installed()
    return now?.serialNumber === web.serialNumber ? undefined : now
  })
  const nextPrinter = await patiently('the next box', async () => {
    const now = opened((await box()) ?? '')
    return now.leaf.serialNumber === printer.leaf.serialNumber ? undefined : now
  })
  assert.ok(!nextWeb.publicKey.equals(web.publicKey))
  assert.notEqual(nextPrinter.key, printer.key)
  assert.equal(nextPrinter.key, nextPrinter.leaf.publicKey.export({ type: 'spki', format: 'pem' }))
  const finished = () => acmems.logLines().filter(({ msg }) => msg === 'renewed').length
  await patiently('both lines', () => finished() > 1 || undefined)
  assert.equal(finished(), 2, 'one order for each')
})
