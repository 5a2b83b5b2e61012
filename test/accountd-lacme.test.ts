// lacme as it is gets certificates of Pebble's with our accountd: by socket, started by lacme itself, with keyid.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { main, makeKeyFolder, ourAccountd, startHolder } from './accountd-world.ts'
import { certificatesOf, namesOf } from './host.ts'
import { runLacme, serveChallenges, writeLacmeCertificate, writeLacmeConfig } from './lacme-world.ts'
import { startPebble } from './peers/pebble.ts'
import { requirePeer } from './peers/peers.ts'

const ready = (t: TestContext) =>
  (['pebble', 'pebble-challtestsrv', 'perl', 'lacme', 'openssl'] as const).every(
    (name) => requirePeer(t, name) !== undefined,
  )

for (const kind of ['rsa', 'P-256'] as const) {
  test(`unmodified lacme, our accountd with a key of kind ${kind}`, async (t) => {
    if (!ready(t)) return
    // lacme tries no nonce twice.
    await using pebble = await startPebble({ authzReuse: 0, nonceReject: 0 })
    using folder = makeKeyFolder('lacme-ours', kind)
    const config = await writeLacmeConfig(folder.path, pebble, folder.socket)
    await using _web = await serveChallenges(join(folder.path, 'challenges'), pebble.httpPort)
    const key = `privkey = file:${folder.keyFile}\n`
    const holder = await startHolder(ourAccountd, folder.path, key)
    const registered = await runLacme([
      `--config=${config}`,
      'account',
      '--register',
      '--tos-agreed',
      'mailto:ops@example.org',
    ])
    if (/Can't locate|Insecure dependency/.test(registered.err))
      return t.skip(`lacme does not run here: ${registered.err}`)
    assert.equal(registered.code, 0, registered.err)
    const account = /Key ID: (\S+)/.exec(registered.err)?.[1]
    assert.ok(account !== undefined, registered.err)
    const gets = async (name: string, configFile = config) => {
      const chain = writeLacmeCertificate(folder.path, name)
      const { code, out, err } = await runLacme([`--config=${configFile}`, 'newOrder'])
      assert.equal(code, 0, out + err + holder.log())
      assert.deepEqual(namesOf(certificatesOf(readFileSync(chain, 'utf8'))[0]), [`DNS:${name}`])
      return chain
    }
    const chain = await gets('a.example.org')
    assert.equal((await runLacme([`--config=${config}`, 'revokeCert', chain])).code, 0)
    const gone = await runLacme([`--config=${config}`, 'account', '--deactivate'])
    assert.notEqual(gone.code, 0, 'lacme-accountd would sign that')
    await holder.stop()
    assert.match(holder.log(), /NOSIGN \[it would give the account away or end it\]/)

    await t.test('with keyid', async () => {
      await using strict = await startHolder(ourAccountd, folder.path, `${key}keyid = ${account}\n`)
      const revocable = await gets('kid.example.org')
      assert.equal((await runLacme([`--config=${config}`, 'revokeCert', revocable])).code, 0)
      const changed = await runLacme([`--config=${config}`, 'account', '--register', 'mailto:evil@example.org'])
      assert.notEqual(changed.code, 0)
      assert.match(strict.log(), /NOSIGN \[/)
      assert.doesNotMatch(strict.log(), /SIGNED .*evil/)
    })

    await t.test('started by lacme, over its own pipe', async () => {
      const own = join(folder.path, 'own.conf')
      writeFileSync(own, `${key}logfile = ${folder.path}/log\n`)
      const section = `[accountd]\nuser =\ngroup =\ncommand = ${process.execPath} ${main} accountd\nconfig = ${own}\nquiet = Yes\n`
      const spawning = await writeLacmeConfig(folder.path, pebble, folder.socket, section)
      await gets('own.example.org', spawning)
      assert.match(readFileSync(join(folder.path, 'log'), 'utf8'), /SIGNED header=.*own\.example\.org/)
    })
  })
}
