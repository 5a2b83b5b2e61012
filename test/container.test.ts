// packaging/Containerfile, built by buildah on a base of debootstrap's, and run: scripts/container-check.sh looks.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { test } from 'node:test'

const script = resolve(import.meta.dirname, '../scripts/container-check.sh')

test('the container is built and run: not root, one process, no capabilities, /sign answers', async (t) => {
  const { code, said } = await new Promise<{ code: number; said: string }>((done) => {
    execFile('sh', [script], { timeout: 280_000 }, (error, _out, err) =>
      done({ code: error === null ? 0 : Number(error.code ?? 1), said: err }),
    )
  })
  const skipped = /skipped: (.*)/.exec(said)?.[1]
  if (skipped !== undefined) return t.skip(skipped)
  assert.equal(code, 0, said)
  assert.match(said, /built, not root, one process, no capabilities, \/sign answered, ended by SIGTERM/)
})
