// The manual pages: complete, because made from what the program itself says, and readable for groff and mandoc.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { manualPages } from '../scripts/manuals.ts'
import { roff } from '../scripts/roff.ts'
import { lacmeKeys, ownKeys } from '../src/accountd/configuration-keys.ts'
import { configReference } from '../src/config/reference.ts'
import { usage } from '../src/installer/usage.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'
import { createProgram } from '../src/program.ts'
import { makeTempFolder } from './peers/child.ts'

const pages = await manualPages('2026-01-01')

function rendererOf(command: string, args: readonly string[]): ((file: string) => string) | undefined {
  if (spawnSync(command, ['--version']).error !== undefined) return undefined
  return (file) => {
    const { status, stdout, stderr } = spawnSync(command, [...args, file], { encoding: 'utf8' })
    assert.deepEqual([status, stderr], [0, ''], `${command} ${file}`)
    // Bold and italic, as terminals of old overstruck them.
    return stdout.replace(/.\x08/gu, '').replace(/\x1b\[[\d;]*m/g, '')
  }
}

test('what has a meaning in roff is printed as it is', (t) => {
  const text = '.TH is no request\n\'nor this\na\\fBb -- `x\' ~^ "q" … 100%'
  assert.equal(roff('.x'), '\\&.x')
  const groff = rendererOf('groff', ['-man', '-Tutf8', '-P-c', '-ww'])
  if (groff === undefined) return t.skip('groff is not on this machine')
  using folder = makeTempFolder('roff')
  const file = join(folder.path, 'x.1')
  writeFileSync(
    file,
    `.TH "X" 1\n.SH "X"\n.PP\n${text
      .split('\n')
      .map((line) => `${roff(line)}\n.br\n`)
      .join('')}`,
  )
  const printed = groff(file)
  for (const line of text.split('\n')) assert.ok(printed.includes(line), `${line} is missing in\n${printed}`)
})

for (const { file, text } of pages) {
  test(`${file} has nothing that a formatter complains about`, (t) => {
    using folder = makeTempFolder('manual')
    const path = join(folder.path, file)
    writeFileSync(path, text)
    const groff = rendererOf('groff', ['-man', '-Tutf8', '-P-c', '-ww', '-rLL=100n'])
    const mandoc = rendererOf('mandoc', ['-Tlint', '-Wwarning'])
    if (groff === undefined && mandoc === undefined) return t.skip('neither groff nor mandoc is on this machine')
    mandoc?.(path)
    for (const title of ['NAME', 'DESCRIPTION', 'SEE ALSO'])
      assert.match(groff?.(path) ?? title, new RegExp(`^${title}$`, 'm'))
    assert.match(text, /^\.TH "[\w.\\-]+" [158] "2026\\-01\\-01" "acmems /m)
    assert.doesNotMatch(text, /undefined|\[object/)
  })
}

/** As one line without roff's own signs. */
function plain(file: string): string {
  const text = pages.find((page) => page.file === file)?.text ?? ''
  return text
    .replace(/\\f[BIR]/g, '')
    .replaceAll('\\-', '-')
    .replaceAll('\\(aq', "'")
    .replaceAll('\\(dq', '"')
}

test('every command and every option is in acmems(1) or a page of its own', async () => {
  const all = ['acmems.1', 'acmems-agent.1', 'acmems-accountd.1'].map(plain).join('')
  const program = await createProgram('')
  const visit = (command: typeof program, path: string): void => {
    assert.ok(all.includes(path), path)
    for (const { long } of command.options) if (long) assert.ok(all.includes(long), `${path} ${long}`)
    for (const inner of command.commands) visit(inner, `${path} ${inner.name()}`)
  }
  visit(program, 'acmems')
})

test('every section and every key is in acmems.ini(5)', () => {
  const page = plain('acmems.ini.5')
  for (const { section, keys } of configReference(builtinPlugins)) {
    assert.ok(page.includes(`.SS "${section}"`), section)
    for (const { key } of keys) assert.ok(page.includes(`\n${key} = `), `${section} ${key}`)
  }
})

test('every key of accountd is in acmems-accountd(1) and in docs/accountd.md', () => {
  const page = plain('acmems-accountd.1')
  const document = readFileSync(join(import.meta.dirname, '..', 'docs', 'accountd.md'), 'utf8')
  for (const [key, meaning] of Object.entries({ ...lacmeKeys, ...ownKeys })) {
    assert.ok(page.includes(`.TP\n${key}\n${meaning}\n`), key)
    assert.ok(document.includes(`\`${key}`), key)
  }
  assert.doesNotMatch(page, /read the configuration again/)
})

test("agent.sh(1) has the agent's commands, options, keys and exit codes", () => {
  const page = plain('agent.sh.1')
  for (const text of ['enroll', '-c, --config FILE', 'reuse-key = yes', 'ACMEMS_FULLCHAIN', '75'])
    assert.ok(page.includes(text), text)
})

test('acmems-install(8) has each option with its own meaning', () => {
  const page = plain('acmems-install.8')
  for (const [, flags = ''] of usage.matchAll(/^ {2}(-.*?)(?: {2}|$)/gm))
    assert.match(page, new RegExp(`^\\.TP\n${flags}\n\\w`, 'm'), flags)
})
