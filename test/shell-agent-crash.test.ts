// The shell agent when things go wrong on the host: killed anywhere, a full disk, two at once, hooks that fail.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type AgentStub, makeTestAuthority, startAgentStub } from './agent-stub.ts'
import { type AgentHost, makeAgentHost, type ShellName, shareOf, shells } from './agent-world.ts'

/** More of them to be surer: AGENT_KILLS=500, and EVERY_SHELL=1. */
const kills = Number(process.env.AGENT_KILLS ?? 16)

type World = AsyncDisposable & { readonly stub: AgentStub; readonly host: AgentHost }

/** A server that answers well, and a host; undefined where the shell cannot be had. */
async function makeWorld(t: TestContext, shell: ShellName): Promise<World | undefined> {
  await using cleanup = new AsyncDisposableStack()
  const authority = makeTestAuthority()
  const stub = cleanup.use(
    await startAgentStub(({ body }, response) => {
      response.end(authority.chainFor(body))
    }),
  )
  const host = makeAgentHost(t, shell, stub.url)
  if (host === undefined) return undefined
  cleanup.use(host)
  const owned = cleanup.move()
  return { stub, host, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

const linesOf = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [])

for (const shell of shells) {
  test(`${shell}: a hook runs once a change, again where it failed, and keeps no renewal away`, async (t) => {
    await using world = await makeWorld(t, shell)
    if (world === undefined) return
    const { stub, host } = world
    const [ran, ok] = [join(host.folder, 'ran'), join(host.folder, 'ok')]
    host.configure({
      pin: stub.pin,
      name: 'a.test',
      hook: `echo $ACMEMS_SERIAL >> ${ran}; echo no such unit >&2; test -e ${ok}`,
    })
    const failed = await host.run()
    assert.deepEqual(
      [failed.code, /hook failed, it is run again.*no such unit/.test(failed.stderr)],
      [5, true],
      failed.stderr,
    )
    assert.ok(host.isPairWhole(), 'what was installed stays')
    assert.equal((await host.run()).code, 5)
    assert.equal(stub.asked.length, 1)
    assert.equal((await host.run('--force')).code, 5)
    assert.equal(stub.asked.length, 2, 'renewed all the same')
    assert.match((await host.run('status')).stdout, /check or hook has yet to succeed/)
    writeFileSync(ok, '')
    assert.equal((await host.run()).code, 0)
    const before = linesOf(ran)
    assert.equal(before.at(-1), host.certificate()?.serialNumber)
    assert.equal((await host.run()).code, 0)
    assert.deepEqual(linesOf(ran), before)
    assert.equal((await host.run('hook')).code, 0)
    assert.equal(linesOf(ran).length, before.length + 1, 'by hand it always runs')
  })

  test(`${shell}: where check fails the former certificate is put back, and the new one is tried again without asking`, async (t) => {
    await using world = await makeWorld(t, shell)
    if (world === undefined) return
    const { stub, host } = world
    const [bad, ran] = [join(host.folder, 'bad'), join(host.folder, 'ran')]
    const single = join(host.folder, 'single.pem')
    host.configure({
      pin: stub.pin,
      name: 'a.test',
      fullchain: single,
      check: `! test -e ${bad}`,
      hook: `echo x >> ${ran}`,
    })
    assert.equal((await host.run()).code, 0)
    const [first, pem] = [host.certificate()?.serialNumber, readFileSync(single, 'utf8')]
    writeFileSync(bad, '')
    for (let round = 0; round < 2; round++) {
      const run = await host.run('--force')
      assert.deepEqual([run.code, /the former certificate is back/.test(run.stderr)], [5, true], run.stderr)
      assert.deepEqual([host.certificate()?.serialNumber, readFileSync(single, 'utf8')], [first, pem])
      assert.ok(host.isPairWhole())
    }
    assert.equal(stub.asked.length, 2)
    rmSync(bad)
    assert.equal((await host.run('--force')).code, 0)
    assert.equal(stub.asked.length, 2, 'it was here already')
    assert.notEqual(host.certificate()?.serialNumber, first)
    assert.deepEqual(linesOf(ran), ['x', 'x'])
  })

  test(`${shell}: two at once ask once; a lock that nobody holds is broken`, async (t) => {
    await using world = await makeWorld(t, shell)
    if (world === undefined) return
    const { stub, host } = world
    const ran = join(host.folder, 'ran')
    host.configure({ pin: stub.pin, name: 'a.test', hook: `sleep 1; echo x >> ${ran}` })
    const runs = await Promise.all([host.run(), host.run(), host.run()])
    assert.deepEqual(
      runs.map(({ code }) => code),
      [0, 0, 0],
      runs.map(({ stderr }) => stderr).join(),
    )
    assert.deepEqual([stub.asked.length, linesOf(ran)], [1, ['x']])
    const lock = join(host.state, 'www', 'lock')
    // Nobody's, somebody else's by now, and half a word: all of them are broken.
    for (const content of ['999999999 1\n', `${process.pid} 1\n`, 'x y\n']) {
      writeFileSync(lock, content)
      const run = await host.run()
      assert.equal(run.code, 0, content + run.stderr)
      assert.ok(!existsSync(lock))
    }
    const stat = readFileSync(`/proc/${process.pid}/stat`, 'utf8')
    writeFileSync(lock, `${process.pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}\n`)
    const release = sleep(1500).then(() => rmSync(lock))
    assert.equal((await host.run()).code, 0, 'waited for')
    await release
  })

  test(`${shell}: a torn pair, a lost file, a changed wish: put right by the next run`, async (t) => {
    await using world = await makeWorld(t, shell)
    if (world === undefined) return
    const { stub, host } = world
    const [key, fullchain, ran] = [join(host.folder, 'k.pem'), join(host.folder, 'c.pem'), join(host.folder, 'ran')]
    const config = { pin: stub.pin, name: 'a.test', key, fullchain, hook: `echo x >> ${ran}` }
    host.configure(config)
    assert.equal((await host.run()).code, 0)
    const old = join(host.folder, 'old.key')
    copyFileSync(key, old)
    assert.equal((await host.run('--force')).code, 0)
    const good = readFileSync(key, 'utf8')
    const spoils: (() => void)[] = [
      () => copyFileSync(old, key),
      () => rmSync(fullchain),
      () => rmSync(host.directory),
      () => writeFileSync(join(host.directory, 'cert.pem'), ''),
      () => {
        rmSync(host.directory)
        symlinkSync('nowhere', host.directory)
      },
    ]
    for (const [index, spoil] of shareOf(shell, [...spoils.entries()])) {
      const hooks = linesOf(ran).length
      spoil()
      assert.equal((await host.run('status')).code, 1, `status sees spoil ${index}`)
      const run = await host.run()
      assert.deepEqual([run.code, /put right/.test(run.stderr)], [0, true], `${index}: ${run.stderr}`)
      assert.equal(readFileSync(key, 'utf8'), good)
      assert.ok(host.isPairWhole())
      assert.equal(linesOf(ran).length, hooks + 1, 'whoever reads it is told')
    }
    assert.equal(stub.asked.length, 2, 'the server has nothing to do with it')

    // What is kept is damaged itself: then it is had anew.
    for (const file of readdirSync(join(host.state, 'www', 'live')))
      writeFileSync(join(host.state, 'www', 'live', file), 'damaged')
    assert.equal((await host.run()).code, 0)
    assert.equal(stub.asked.length, 3)
    for (const [lines, names] of [
      [{ name: 'a.test b.test' }, 'DNS:a.test, DNS:b.test'],
      [{ 'key-type': 'rsa-2048' }, 'DNS:a.test'],
    ] as const) {
      const asked: number = stub.asked.length
      host.configure({ ...config, ...lines })
      assert.equal((await host.run()).code, 0)
      assert.equal(stub.asked.length, asked + 1, JSON.stringify(lines))
      assert.equal(host.certificate()?.subjectAltName, names)
      assert.ok(host.isPairWhole())
    }
    host.configure({ ...config, 'reuse-key': 'yes' })
    assert.equal((await host.run()).code, 0)
    const kept = readFileSync(key, 'utf8')
    assert.equal((await host.run('--force')).code, 0)
    assert.deepEqual([readFileSync(key, 'utf8'), stub.asked.at(-1)?.body], [kept, stub.asked.at(-2)?.body])
    // Another mode: installed again, nobody asked.
    host.configure({ ...config, mode: '640' })
    const count = stub.asked.length
    assert.equal((await host.run()).code, 0)
    assert.equal(stub.asked.length, count)
  })

  test(`${shell}: killed at any moment, the pair in the directory is whole, and the next run goes on`, async (t) => {
    await using world = await makeWorld(t, shell)
    if (world === undefined) return
    const { stub, host } = world
    const ran = join(host.folder, 'ran')
    host.configure({
      pin: stub.pin,
      name: 'a.test',
      key: join(host.folder, 'k.pem'),
      hook: `echo $ACMEMS_SERIAL >> ${ran}`,
    })
    const startedMs = performance.now()
    assert.equal((await host.run()).code, 0)
    const tookMs = performance.now() - startedMs
    let killed = 0
    for (const i of shareOf(
      shell,
      Array.from({ length: kills }, (_, nth) => nth),
    )) {
      // One in each part of its run, wherever in it.
      const share = (i + Math.random()) / kills
      const { code } = await host.runAndKill(share * tookMs * 1.1, '--force')
      if (code === null) killed++
      assert.ok(host.isPairWhole(), `run ${i}`)
      assert.ok(linesOf(ran).length > 0)
    }
    assert.ok(killed > (shareOf(shell, [0, 1, 2]).length === 3 ? 3 : 1), `${killed} were killed`)
    const last = await host.run()
    assert.equal(last.code, 0, last.stderr)
    assert.equal(linesOf(ran).at(-1), host.certificate()?.serialNumber, 'the hook knows the last one')
    assert.equal(
      readFileSync(join(host.folder, 'k.pem'), 'utf8'),
      readFileSync(join(host.directory, 'privkey.pem'), 'utf8'),
    )
    assert.equal((await host.run('--force')).code, 0)
    assert.deepEqual(readdirSync(join(host.state, 'www')).sort(), ['how', 'live', 'sets'], 'nothing is left behind')
    assert.equal(readdirSync(join(host.state, 'www', 'sets')).length, 1)
    assert.deepEqual(
      readdirSync(host.folder).filter((name) => name.startsWith('.')),
      [],
    )
    assert.ok(readdirSync(join(host.directory, '..')).length <= 3, 'the link, and two folders')
  })

  test(`${shell}: a full disk changes nothing, whichever disk it is`, async (t) => {
    await using world = await makeWorld(t, shell)
    if (world === undefined) return
    const { stub, host } = world
    const disk = join(host.folder, 'disk')
    mkdirSync(disk)
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk]).status !== 0)
      return t.skip('a small disk could not be mounted here (needs root)')
    const every = [0, 4, 8, 12, 16, 24]
    const rooms = shareOf(shell, every).length === every.length ? every : [0, 12]
    try {
      for (const which of ['state', 'directory'] as const) {
        const place = join(disk, which)
        host.configure({ pin: stub.pin, name: 'a.test', [which]: place })
        const directory = which === 'directory' ? place : host.directory
        const first = await host.run()
        assert.equal(first.code, 0, first.stderr)
        const read = () => readFileSync(join(directory, 'fullchain.pem'), 'utf8')
        let broken = 0
        // Down to the last octet, and with a little room, so that it breaks in different places.
        for (const roomKiB of rooms) {
          const [filler, before] = [join(disk, 'filler'), read()]
          writeFileSync(join(disk, 'room'), Buffer.alloc(roomKiB * 1024))
          spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1k'])
          rmSync(join(disk, 'room'))
          const run = await host.run('--force')
          if (run.code !== 0) broken++
          assert.ok(host.isPairWhole(directory), `${which} with ${roomKiB} KiB: ${run.stderr}`)
          assert.equal(run.code !== 0, read() === before, `${roomKiB}: ${run.stderr}`)
          if (run.code !== 0) assert.match(run.stderr, /is the disk full|cannot be written|Failed writing/)
          rmSync(filler)
          const again = await host.run()
          assert.equal(again.code, 0, again.stderr)
        }
        assert.ok(broken >= rooms.length / 2, `${which}: ${broken}`)
        const left = readdirSync(disk).filter((name) => name.includes('.new') || name.includes('.swap'))
        assert.deepEqual(left, [])
        rmSync(join(host.folder, 'state'), { recursive: true, force: true })
      }
    } finally {
      spawnSync('umount', [disk])
    }
  })
}
