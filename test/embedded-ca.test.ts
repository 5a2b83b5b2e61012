// The embedded CA is made once, however many begin at the same moment.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { runCommand } from './command.ts'
import { makeTempFolder } from './peers/child.ts'

test('several processes that make the embedded CA at once have one', async () => {
  using folder = makeTempFolder('embedded-ca')
  const at = (name: string) => join(folder.path, name)
  const files = ['a', 'b', 'c'].map((name) => {
    const file = at(`${name}.ini`)
    writeFileSync(
      file,
      `[account]\ntype = local\ndir = ${at('ca')}\n[state]\nurl = sqlite:${at(`${name}/state.db`)}\n[certificate "${name}"]\ndomain = ${name}.example.org\ndirectory = ${at(`tls-${name}`)}\n`,
    )
    return file
  })
  const runs = await Promise.all(files.map((file) => runCommand(['renew', file])))
  for (const { code, err } of runs) assert.equal(code, 0, err)
  const root = new X509Certificate(readFileSync(at('ca/root.pem')))
  const intermediate = new X509Certificate(readFileSync(at('ca/intermediate.pem')))
  assert.ok(intermediate.verify(root.publicKey))
  for (const name of ['a', 'b', 'c'])
    assert.ok(new X509Certificate(readFileSync(at(`tls-${name}/cert.pem`))).verify(intermediate.publicKey), name)
})
