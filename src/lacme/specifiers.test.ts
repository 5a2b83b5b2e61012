import assert from 'node:assert/strict'
import { test } from 'node:test'
import { expandSpecifiers, type Runner } from './specifiers.ts'

const root: Runner = { uid: 0, gid: 0, user: 'root', group: 'wheel', home: '/root', environment: { TMPDIR: '/t' } }
const ann: Runner = { uid: 7, gid: 8, user: 'ann', group: 'staff', home: '/h/ann', environment: {} }
const environment = { XDG_RUNTIME_DIR: '/run/7', XDG_CONFIG_HOME: '', XDG_CACHE_HOME: '/c' }

test("lacme's specifiers, for root and for others", () => {
  const all = '%C %E %g %G %h %T %u %U %%'
  assert.equal(expandSpecifiers(`${all} %t`, root), '/var/cache /etc wheel 0 /root /t root 0 % /run')
  assert.equal(expandSpecifiers(all, ann), '/h/ann/.cache /h/ann/.config staff 8 /h/ann /tmp ann 7 %')
  assert.equal(expandSpecifiers('%C %E %t', { ...ann, environment }), '/c /h/ann/.config /run/7')
  // What is filled in is not looked at again.
  assert.equal(expandSpecifiers('%%E %h', { ...ann, home: '%U' }), '%E %U')
})

test('a specifier that is unknown, has no value, or stands alone is refused', () => {
  for (const text of ['%x', '/a%', '%t', '%E%'])
    assert.throws(() => expandSpecifiers(text, ann), /is not known, or has no value here/, text)
})
