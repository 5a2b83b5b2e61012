// The configuration of dns01-server and of [dns-api].
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Config } from '../src/config/config.ts'
import { ConfigError } from '../src/config/finding.ts'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { makeTempFolder } from './peers/child.ts'

async function load(
  text: string,
  environment: Record<string, string> = {},
  assignments: string[] = [],
): Promise<Config> {
  using folder = makeTempFolder('config')
  const file = join(folder.path, 'acmems.ini')
  writeFileSync(file, text)
  return await loadConfig({ files: [file], environment, assignments, lenient: false, plugins: builtinPlugins })
}

async function mistakes(text: string): Promise<string> {
  const error = await load(text).then(
    () => assert.fail('it loads'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof ConfigError)
  return error.message
}

const head = '[verification "dns"]\ntype = dns01-server\n'

test("acmems' own section, and its default listener", async () => {
  const own = await load(`${head}listener=127.0.0.1:53\n`)
  assert.deepEqual(own.verifications.get('dns')?.options.listener, ['127.0.0.1:53'])
  assert.equal(own.defaultVerification, 'dns')
  assert.deepEqual((await load(head)).verifications.get('dns')?.options.listener, ['0.0.0.0:1353'])
  assert.deepEqual((await load(`${head}listener=\n`)).verifications.get('dns')?.options.listener, [])
  assert.match(await mistakes(`${head}listener=/run/dns\n`), /unix socket/)
})

test('a zone', async () => {
  const config = await load(
    `${head}zone = ACME.example.net.\nns = ns1.example.net\nns = ns2.example.net\nhostmaster = a.b@example.net\n`,
  )
  const { zone, ns, hostmaster } = config.verifications.get('dns')?.options ?? {}
  assert.deepEqual(
    [zone, ns, hostmaster],
    ['acme.example.net', ['ns1.example.net', 'ns2.example.net'], 'a.b@example.net'],
  )
  assert.match(await mistakes(`${head}zone = acme.example.net\n`), /zone = acme\.example\.net needs ns/)
  assert.match(await mistakes(`${head}zone = acme.example.net\nns = ns1.acme.example.net\n`), /is in the zone itself/)
  assert.match(await mistakes(`${head}zone = acme..net\nns = ns1.example.net\n`), /is no name of a zone/)
  assert.match(await mistakes(`${head}zone = *.example.net\nns = ns1.example.net\n`), /is no name of a zone/)
})

test('[dns-api], also by the environment, whose names have no hyphen', async () => {
  assert.deepEqual((await load(head)).dnsApi.listener, [])
  const listener = '127.0.0.1:8053'
  for (const config of [
    await load(`${head}[dns-api]\nlistener = ${listener}\n`),
    await load(head, { ACMEMS_DNS_API_LISTENER: listener }),
    await load(head, {}, [`dns-api.listener=${listener}`]),
  ])
    assert.deepEqual(config.dnsApi.listener, [listener])
  assert.match(await mistakes(`[dns-api]\nlistener = ${listener}\n`), /needs a \[verification\] of type dns01-server/)
})

test('password, and not one that is easily guessed', async () => {
  const block = '[auth "web"]\ndomain = a.example\n'
  const config = await load(`${block}password = correct horse\n`)
  assert.deepEqual(
    config.blocks[0]?.credentials.map(({ name }) => name),
    ['password'],
  )
  assert.match(await mistakes(`${block}password = short\n`), /less than 8 characters/)
})
