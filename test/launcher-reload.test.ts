// acmems serve as root, told to read its configuration again: what changes at once, and what at the next start.
import assert from 'node:assert/strict'
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { http01, makeOwned, type PartUser, startParts, users, whyNoParts } from './parts-world.ts'
import { acceptsTcp } from './peers/child.ts'
import { freePrivilegedPort } from './peers/free-port.ts'
import { freePort } from './peers/peers.ts'
import { until } from './until.ts'

const skip = whyNoParts()

test('what a reload makes of the parts holds from the next start on', { skip }, async (t) => {
  const port = await freePort()
  const start = async (which: readonly PartUser[]) => {
    const parts = await startParts(() => http01(port), {
      which,
      // Nothing of the folder's way is there.
      before: (folder) =>
        rewrite(join(folder, 'acmems.ini'), /run-directory = .*/, `run-directory = ${folder}/deep/below/run`),
    })
    t.after(() => parts.stop())
    return parts
  }
  const parts = await start(['server'])
  const hosts = join(parts.folder, 'state', 'web')
  makeOwned(hosts, users.server)
  appendFileSync(parts.configFile, `[certificate "web"]\ndomain = web.test\ndirectory = ${hosts}\n`)
  // What is for a part that is not there is no reason to tell the others nothing.
  const more = `[process]\nuser-responder = ${users.responder}\nuser-accountd = ${users.accountd}\n`
  rewrite(parts.configFile, '[process]\n', more)
  process.kill(parts.launcherPid, 'SIGHUP')
  const saying = (msg: string) => parts.logLines().filter((line) => line.msg === msg)
  await until('the reload', () => saying('configuration reloaded').length === 1)
  assert.deepEqual(
    saying('a new part is started at the next restart').map(({ part }) => part),
    ['accountd', 'installer', 'responder'],
  )
  // A host's key is the installer's to make, and never the server's.
  const trouble = 'a certificate cannot be had or installed'
  await until('its try', () => saying(trouble).length === 1)
  assert.match(String(saying(trouble)[0]?.reason), /the installer does not answer.*install\/S/)
  assert.deepEqual(readdirSync(hosts), [])
  await until('that it is missed', () => saying('the installer is away').length === 1)
  process.kill(parts.pidOf('server'), 'SIGKILL')
  await until('the server', () => saying('serving').length === 2)
  await until('its try', () => saying(trouble).length === 2)
  assert.deepEqual(readdirSync(hosts), [])
  await parts.stop()
  const again = await start(['server', 'responder', 'accountd'])
  await until('all', () => again.processes().length === 3)
  rewrite(again.configFile, /user-responder = .*/, '')
  process.kill(again.launcherPid, 'SIGHUP')
  await until('its word', () => again.log().includes('not wanted any more runs until the next restart'))
  assert.equal(again.processes().length, 3)
})

test('a port that is taken when a reload wants it keeps no other from being answered', { skip }, async (t) => {
  const port = await freePrivilegedPort()
  const parts = await startParts(() => http01(port))
  t.after(() => parts.stop())
  await until('the responder', () => parts.log().includes('"msg":"the responder answers"'))
  const taken = await freePrivilegedPort()
  const other = createServer().listen(taken, '127.0.0.1')
  t.after(() => other.close())
  const former = parts.pidOf('responder')
  appendFileSync(parts.configFile, http01(taken).replace('"http"', '"other"'))
  process.kill(parts.launcherPid, 'SIGHUP')
  await until('another responder', () =>
    parts.processes().some(({ name, pid }) => name === 'responder' && pid !== former),
  )
  await until('the port that it has', () => acceptsTcp(port))
  assert.match(parts.log(), new RegExp(`cannot listen on 127.0.0.1:${taken}: something else listens there`))
  other.close()
  const second = parts.pidOf('responder')
  await until('one with both', () => parts.processes().some(({ name, pid }) => name === 'responder' && pid !== second))
  await until('the other port', () => acceptsTcp(taken))
})

function rewrite(file: string, from: string | RegExp, to: string): void {
  writeFileSync(file, readFileSync(file, 'utf8').replace(from, to))
}
