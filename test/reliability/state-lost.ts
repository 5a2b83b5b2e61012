// Rows 16, 18 and 19: a state that cannot be written, is damaged, or is gone.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeCsrs } from '../../bench/csrs.ts'
import { parseChain } from '../../src/x509/chain.ts'
import { startAcmems } from '../acmems.ts'
import { drawNumber } from '../faults/rule-book.ts'
import { postCsr } from '../host.ts'
import { makeTempFolder } from '../peers/child.ts'
import { startPebble } from '../peers/pebble.ts'
import { freePort } from '../peers/peers.ts'
import { until } from '../until.ts'
import { askUntilGiven, calm, configFor, everyone, ordersAt, startProxy, startServer, stateFile } from './rig.ts'
import { type Figures, rounded, type Scenario } from './scenario.ts'

/** Nothing can be written for a while: a limit of the system on the size of files, set from outside. */
async function runUnwritable(): Promise<Figures> {
  await using pebble = await startPebble({ ...calm, httpPort: await freePort() })
  await using proxy = await startProxy(pebble)
  await using acmems = await startAcmems(configFor(pebble, proxy))
  const limit = (to: string) => spawnSync('prlimit', ['--pid', String(acmems.pid), `--fsize=${to}`]).status
  const [kept = '', fresh = ''] = makeCsrs('unwritable', 2)
  const first = await postCsr(acmems.signUrl, kept)
  assert.equal(first.status, 200, first.text)
  if (limit('1:unlimited') !== 0) return { 'not run': 'prlimit is not here' }
  const before = pebble.issuedCount()
  assert.equal((await postCsr(acmems.signUrl, kept)).text, first.text, 'I1')
  const refused = await postCsr(acmems.signUrl, fresh)
  assert.equal(refused.status, 503, refused.text)
  assert.match(refused.text, /state/)
  const ordered = ordersAt(pebble)
  assert.equal(pebble.issuedCount() - before, 0)
  limit('unlimited:unlimited')
  const given = await askUntilGiven(() => postCsr(acmems.signUrl, fresh))
  assert.equal(given.reply.status, 200, given.reply.text)
  assert.equal(acmems.hasEnded(), false)
  return { 'issued and not stored': 0, 'orders made meanwhile': ordered - 1, 'asks until it works again': given.asks }
}

/** No more files: neither connections nor anything else. */
async function runNoFiles(): Promise<Figures> {
  await using pebble = await startPebble({ ...calm, httpPort: await freePort() })
  await using proxy = await startProxy(pebble)
  await using acmems = await startAcmems(configFor(pebble, proxy))
  const limit = (to: string) => spawnSync('prlimit', ['--pid', String(acmems.pid), `--nofile=${to}`]).status
  const [kept = '', fresh = ''] = makeCsrs('files', 2)
  const first = await postCsr(acmems.signUrl, kept)
  if (limit('5:4096') !== 0) return { 'not run': 'prlimit is not here' }
  const refused = await Promise.race([
    postCsr(acmems.signUrl, fresh).then(
      ({ status }) => status,
      () => 0,
    ),
    new Promise<number>((resolve) => setTimeout(resolve, 2000, 0)),
  ])
  assert.notEqual(refused, 200)
  limit('4096:4096')
  const given = await askUntilGiven(() =>
    postCsr(acmems.signUrl, fresh).catch(() => ({ status: 0, text: '', headers: new Headers() })),
  )
  assert.equal(given.reply.status, 200, given.reply.text)
  assert.equal((await postCsr(acmems.signUrl, kept)).text, first.text, 'I1')
  assert.equal(acmems.hasEnded(), false)
  return { 'process alive, works again': 'yes', 'issued and not stored': pebble.issuedCount() - 2 }
}

async function runReadOnlyStart(): Promise<Figures> {
  using folder = makeTempFolder('read-only')
  const disk = join(folder.path, 'disk')
  mkdirSync(disk)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk]).status !== 0)
    return { 'not run': 'a disk could not be mounted (needs root)' }
  try {
    const config = `[account]\ntype = local\ndir = ${folder.path}/ca\n${everyone}`
    const state = `[state]\nurl = sqlite:${disk}/state.db\n`
    await (await startServer(state + config, folder.path)).stop()
    assert.equal(spawnSync('mount', ['-o', 'remount,ro', disk]).status, 0)
    const error = await startServer(state + config, folder.path).then(
      async (server) => {
        await server.stop()
        return undefined
      },
      (failure: unknown) => failure,
    )
    assert.ok(error instanceof Error)
    assert.match(error.message, /the state at .* cannot be used: .*(readonly|read-only|unable)/i)
    return { 'what it says': error.message.replaceAll(folder.path, '…').slice(0, 160) }
  } finally {
    // At once, though something of the failed start may still be open.
    spawnSync('umount', ['-l', disk])
  }
}

/** A crash image of a state with certificates in it, and something broken in it. */
async function runDamage(full: boolean): Promise<Figures> {
  using folder = makeTempFolder('damage')
  const config = `[account]\ntype = local\ndir = ${folder.path}/ca\n${everyone}`
  const [original, image, closed] = ['original', 'image', 'closed'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  for (const path of [original, image, closed]) mkdirSync(path)
  const csrs = makeCsrs('damage', 12)
  const chains = new Map<string, string>()
  const server = await startServer(config, original)
  for (const csr of csrs) chains.set(csr, (await postCsr(server.signUrl, csr)).text)
  // While it runs: the log has not been written back.
  for (const name of ['state.db', 'state.db-wal']) copyFileSync(join(original, name), join(image, name))
  await server.stop()
  copyFileSync(join(original, 'state.db'), join(closed, 'state.db'))
  const counts = { started: 0, refused: 0, bare: 0, kept: 0, anew: 0, failed: 0, wrong: 0 }
  const count = full ? 600 : 24
  for (let i = 0; i < count; i++) {
    const damaged = join(folder.path, `damaged-${i}`)
    const isCrash = i % 2 === 0
    cpSync(isCrash ? image : closed, damaged, { recursive: true })
    damage(join(damaged, isCrash && i % 4 === 0 ? 'state.db-wal' : 'state.db'), i)
    const [csr = '', other = ''] = [csrs[i % csrs.length], csrs[(i + 5) % csrs.length]]
    try {
      await using started = await startServer(config, damaged)
      counts.started += 1
      for (const one of [csr, other]) {
        const reply = await postCsr(started.signUrl, one)
        if (reply.text === chains.get(one)) counts.kept += 1
        else if (reply.status === 200 && isFor(reply.text, chains.get(one) ?? '')) counts.anew += 1
        else if (reply.status >= 500) counts.failed += 1
        else counts.wrong += 1
      }
    } catch (error) {
      assert.ok(error instanceof Error)
      assert.match(error.message, /malformed|not a database|cannot be used/, `damage ${i}`)
      if (/the state at .* cannot be used: .*restore a backup, or move it away/s.test(error.message))
        counts.refused += 1
      else counts.bare += 1
    }
    rmSync(damaged, { recursive: true })
  }
  assert.equal(counts.wrong, 0)
  assert.equal(counts.started + counts.refused + counts.bare, count)
  return {
    'damaged states': count,
    started: counts.started,
    'refused to start, saying why and what to do': counts.refused,
    'refused to start with no more than SQLite’s own words': counts.bare,
    'answers: kept / ordered anew / 5xx': `${counts.kept} / ${counts.anew} / ${counts.failed}`,
    'wrong certificates served': counts.wrong,
  }
}

/** Cut somewhere, or one bit is another, or a page is zero. */
function damage(file: string, seed: number): void {
  const bytes = readFileSync(file)
  const at = Math.floor(drawNumber('where', seed) * bytes.length)
  if (seed % 5 < 2) {
    truncateSync(file, at)
    return
  }
  if (seed % 5 < 4) bytes[at] = (bytes[at] ?? 0) ^ (1 << (seed % 8))
  else bytes.fill(0, at - (at % 4096), at - (at % 4096) + 4096)
  writeFileSync(file, bytes)
}

function isFor(text: string, former: string): boolean {
  const [now, before] = [parseChain(text).leaf, parseChain(former).leaf]
  const key = (leaf: typeof now) =>
    createHash('sha256')
      .update(leaf.x509.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex')
  return key(now) === key(before) && now.x509.subjectAltName === before.x509.subjectAltName
}

async function runGone(full: boolean): Promise<Figures> {
  using folder = makeTempFolder('gone')
  const count = full ? 50 : 5
  await using pebble = await startPebble({ ...calm, httpPort: await freePort() })
  await using proxy = await startProxy(pebble)
  const config = configFor(pebble, proxy, {
    config: `[storage "files"]\ntype = file\ndirectory = ${folder.path}/kept\n`,
  })
  const csrs = makeCsrs('gone', count)
  const texts = new Map<string, string>()
  let server = await startServer(config, folder.path)
  const askAll = async () => {
    const startedMs = performance.now()
    const given = await Promise.all(csrs.map((csr) => askUntilGiven(() => postCsr(server.signUrl, csr))))
    assert.deepEqual([...new Set(given.map(({ reply }) => reply.status))], [200], given[0]?.reply.text)
    return { given, elapsedMs: performance.now() - startedMs }
  }
  const accounts = () => Number(pebble.log().match(/There are now (\d+) accounts/g)?.length ?? 0)
  for (const [i, { reply }] of (await askAll()).given.entries()) texts.set(csrs[i] ?? '', reply.text)
  const figures: Record<string, string | number> = {}
  const lose = async (name: string, paths: readonly string[], wanted: { orders: number; accounts: number }) => {
    await server.stop()
    const before = [ordersAt(pebble), accounts()] as const
    for (const path of paths) {
      assert.ok(existsSync(join(folder.path, path)), path)
      rmSync(join(folder.path, path), { recursive: true })
    }
    for (const more of ['-wal', '-shm']) rmSync(`${stateFile(folder.path)}${more}`, { force: true })
    server = await startServer(config, folder.path)
    const { given, elapsedMs } = await askAll()
    await until('the account', () => existsSync(join(folder.path, 'account/registration.json')))
    const made = { orders: ordersAt(pebble) - before[0], accounts: accounts() - before[1] }
    assert.deepEqual(made, wanted, name)
    if (wanted.orders === 0)
      for (const [i, { reply }] of given.entries()) assert.equal(reply.text, texts.get(csrs[i] ?? ''))
    else for (const [i, { reply }] of given.entries()) texts.set(csrs[i] ?? '', reply.text)
    figures[`${name}: new orders, new accounts, time to full service (s)`] =
      `${made.orders}, ${made.accounts}, ${rounded(elapsedMs / 1000)}`
  }
  await lose('the database', ['state.db'], { orders: 0, accounts: 0 })
  await lose('the account key', ['account'], { orders: 0, accounts: 1 })
  await lose('all but the account key', ['state.db', 'kept', 'account/registration.json'], {
    orders: count,
    accounts: 0,
  })
  await lose('everything', ['state.db', 'kept', 'account'], { orders: count, accounts: 1 })
  await server.stop()
  return { certificates: count, ...figures }
}

export const stateLost: readonly Scenario[] = [
  {
    row: 16,
    fault: 'nothing can be written for a while (the file size limit of the process is 1 byte)',
    expected: 'kept certificates are answered, nothing is ordered, 503; goes on without a restart',
    run: runUnwritable,
  },
  {
    row: 16,
    fault: 'no more file descriptors for a while',
    expected: 'the process stays alive, and goes on without a restart',
    run: runNoFiles,
  },
  {
    row: 16,
    fault: 'the state is on a file system that is read-only, at the start',
    expected: 'it does not start, and says why',
    run: runReadOnlyStart,
  },
  {
    row: 18,
    fault: 'the database or its write-ahead log cut, one bit changed, a page of zeros, anywhere',
    expected: 'it starts, or says why not and what to do; no wrong certificate is ever served',
    run: runDamage,
  },
  {
    row: 19,
    fault: 'the database, the account’s key, all but the key, or everything is gone',
    expected: 'found again by files and by the key; what is gone is made again once',
    run: runGone,
  },
]
