import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeTempFolder } from '../../test/peers/child.ts'
import type { OutputFile } from './output-files.ts'
import { checkPlaces, type Placement, placeFiles } from './placement.ts'

const isRoot = process.getuid?.() === 0
const needsRoot = isRoot ? false : 'needs root'
const nobody = 65_534
/** Of no process: ids end before it. */
const deadPid = 2 ** 30

const fileAt = (path: string, content: string, holdsKey = false): OutputFile => ({
  ...{ path, content: Buffer.from(content), holdsKey, mode: holdsKey ? 0o600 : 0o644 },
})
const pair = (at: string, content: string) => [
  fileAt(join(at, 'cert'), content),
  fileAt(join(at, 'key'), content, true),
]
const place = (at: string, content: string, version = content, placement: Partial<Placement> = {}) =>
  placeFiles(pair(at, content), { directory: at, owner: undefined, ...placement }, version)
const read = (at: string) => ['cert', 'key'].map((name) => readFileSync(join(at, name), 'utf8'))
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

test('a directory: a link that turns, the former folder kept, the one before removed; whatever the umask', async () => {
  using temp = makeTempFolder('place')
  const at = join(temp.path, 'made', 'web')
  const umask = process.umask(0o077)
  try {
    for (const content of ['one', 'two', 'three']) {
      await place(at, content)
      assert.deepEqual(read(at), [content, content])
    }
  } finally {
    process.umask(umask)
  }
  assert.deepEqual(readdirSync(join(temp.path, 'made')).sort(), ['.web.versions', 'web'])
  assert.deepEqual(readdirSync(join(temp.path, 'made', '.web.versions')).sort(), ['three', 'two'])
  const parts = [join(temp.path, 'made', '.web.versions'), realpathSync(at), join(at, 'cert'), join(at, 'key')]
  assert.deepEqual(parts.map(modeOf), ['755', '755', '644', '600'])
})

test('undone: the former link, or none', async () => {
  using temp = makeTempFolder('place')
  const at = join(temp.path, 'web')
  await (await place(at, 'one')).undo()
  assert.ok(!existsSync(at))
  await place(at, 'one')
  await (await place(at, 'two')).undo()
  assert.deepEqual(read(at), ['one', 'one'])
})

test('the same version again, as after a jump of the clock: what is in use is never touched', async () => {
  using temp = makeTempFolder('place')
  const at = join(temp.path, 'web')
  await place(at, 'one', 'v')
  const former = realpathSync(at)
  await place(at, 'two', 'v')
  assert.notEqual(realpathSync(at), former)
  assert.deepEqual(read(former), ['one', 'one'])
})

test('D13: links of processes that died are removed, those of others are not', async () => {
  using temp = makeTempFolder('place')
  const at = join(temp.path, 'web')
  symlinkSync('nowhere', `${at}.${deadPid}.tmp`)
  symlinkSync('nowhere', `${at}.1.tmp`)
  writeFileSync(`${at}.${deadPid + 1}.tmp`, 'not ours')
  await place(at, 'one')
  assert.deepEqual(
    readdirSync(temp.path).filter((entry) => entry.startsWith('web.')),
    ['web.1.tmp', `web.${deadPid + 1}.tmp`],
  )
})

test('what is in the way: an empty folder gives way, a file or a full folder does not, a link does', async () => {
  using temp = makeTempFolder('place')
  const at = (name: string) => join(temp.path, name)
  mkdirSync(at('empty'))
  await place(at('empty'), 'one')
  assert.ok(lstatSync(at('empty')).isSymbolicLink())
  writeFileSync(at('file'), 'x')
  mkdirSync(at('full'))
  writeFileSync(at('full/x'), 'x')
  for (const name of ['file', 'full'])
    await assert.rejects(place(at(name), 'one'), /must become a link to a folder of ours: move away/)
  assert.deepEqual([readFileSync(at('file'), 'utf8'), readdirSync(at('full'))], ['x', ['x']])
  symlinkSync('full', at('link'))
  await (await place(at('link'), 'one')).undo()
  assert.equal(readlinkSync(at('link')), 'full')
})

test('separate files: as they were where one of them cannot be written', async () => {
  using temp = makeTempFolder('place')
  const at = (name: string) => join(temp.path, name)
  writeFileSync(at('cert'), 'old', { mode: 0o640 })
  const files = [fileAt(at('cert'), 'new'), fileAt(at('key'), 'new', true), fileAt(at('nowhere/chain'), 'new')]
  const placement = { directory: undefined, owner: undefined }
  await assert.rejects(placeFiles(files, placement, 'v'), (error: Error) => {
    assert.match(error.message, new RegExp(`${at('nowhere')} is not there: make it`))
    return true
  })
  assert.deepEqual(readdirSync(temp.path), ['cert'])
  assert.deepEqual([readFileSync(at('cert'), 'utf8'), modeOf(at('cert'))], ['old', '640'])
  const placed = await placeFiles(files.slice(0, 2), placement, 'v')
  assert.deepEqual([readFileSync(at('cert'), 'utf8'), readFileSync(at('key'), 'utf8')], ['new', 'new'])
  await placed.undo()
  assert.deepEqual(readdirSync(temp.path), ['cert'])
})

test('what its owner put in the place of a file is not taken in, nor waited for', async () => {
  using temp = makeTempFolder('place')
  const at = (name: string) => join(temp.path, name)
  writeFileSync(at('large'), '')
  truncateSync(at('large'), 1_000_000_000)
  spawnSync('mkfifo', [at('pipe')])
  symlinkSync('/dev/null', at('device'))
  for (const name of ['large', 'pipe', 'device'])
    await assert.rejects(
      placeFiles([fileAt(at(name), 'new')], { directory: undefined, owner: undefined }, 'v'),
      new RegExp(`${name} is in the way, .* move it away`),
    )
})

test('looked at before a certificate is asked for: where it goes can be made, and written', async (t) => {
  using temp = makeTempFolder('place')
  const at = (name: string) => join(temp.path, name)
  await checkPlaces([], at('web'))
  await checkPlaces([], at('not/there/web'))
  mkdirSync(at('disk'))
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'ro,mode=755', 'tmpfs', at('disk')]).status !== 0)
    return t.skip('nothing can be mounted here (needs root)')
  writeFileSync(at('file'), '')
  for (const directory of ['file/web', 'file/deep/web'])
    await assert.rejects(checkPlaces([], at(directory)), /file is no folder/)
  try {
    for (const directory of ['disk/web', 'disk/not/there/web'])
      await assert.rejects(checkPlaces([], at(directory)), /disk\/\w+ cannot be written: .*ReadWritePaths=/)
    await assert.rejects(checkPlaces([at('disk/web.key')], undefined), /only to be read/)
  } finally {
    spawnSync('umount', [at('disk')])
  }
})

test('D18: an owner gets the files, not the folder', { skip: needsRoot }, async () => {
  using temp = makeTempFolder('place')
  const at = join(temp.path, 'web')
  await place(at, 'one', 'v', { owner: { uid: nobody, gid: nobody } })
  assert.deepEqual(
    [join(at, 'cert'), join(at, 'key'), at].map((path) => statSync(path).uid),
    [nobody, nobody, 0],
  )
})

test('D18: root writes nowhere where others can put something in its way', { skip: needsRoot }, async () => {
  using temp = makeTempFolder('place')
  const at = (name: string) => join(temp.path, name)
  for (const name of ['foreign', 'loose', 'loose/below', 'sticky', 'firm', 'hers', 'hers/root']) mkdirSync(at(name))
  chmodSync(temp.path, 0o755)
  chownSync(at('foreign'), nobody, nobody)
  chmodSync(at('loose'), 0o775)
  chmodSync(at('sticky'), 0o1777)
  chownSync(at('hers'), nobody, nobody)
  const one = (path: string) => placeFiles([fileAt(path, 'x')], { directory: undefined, owner: undefined }, 'v')
  for (const path of ['foreign/x', 'loose/x', 'loose/below/x', 'hers/root/x'])
    await assert.rejects(one(at(path)), /can be changed by others than root.*chown root/)
  await assert.rejects(place(at('loose/web'), 'x'), /can be changed by others/)
  // A link of root's into a folder whose parent is hers: she can have it lead elsewhere.
  symlinkSync(at('hers/root'), at('firm/link'))
  await assert.rejects(one(at('firm/link/x')), /hers can be changed by others/)
  symlinkSync('link', at('firm/link2'))
  await assert.rejects(one(at('firm/link2/x')), /hers can be changed by others/)
  symlinkSync('loop', at('firm/loop'))
  await assert.rejects(one(at('firm/loop/x')), /too many links/)
  // In /tmp and the like somebody can be there before us.
  mkdirSync(at('sticky/.web.versions'))
  chownSync(at('sticky/.web.versions'), nobody, nobody)
  await assert.rejects(place(at('sticky/web'), 'x'), /\.web\.versions can be changed by others/)
  symlinkSync(at('hers'), at('sticky/.mail.versions'))
  await assert.rejects(place(at('sticky/mail'), 'x'), /hers can be changed by others/)
  await place(at('sticky/fine'), 'x')
  await one(at('firm/x'))
  assert.deepEqual(readdirSync(at('hers/root')), [])
  await assert.rejects(one(at('firm/x/below')), /x is no folder/)
})
