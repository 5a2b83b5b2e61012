import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Identifier } from '../acme/identifier.ts'
import { coversName, parseNamePattern } from './name-pattern.ts'

const dns = (value: string): Identifier => ({ type: 'dns', value })
const matches = (pattern: string, name: string) => parseNamePattern(pattern).matches(name)
const covers = (patterns: readonly string[], wildcardAllowed: boolean, name: string) =>
  coversName(patterns.map(parseNamePattern), wildcardAllowed, dns(name))

const table: readonly (readonly [pattern: string, matching: readonly string[], other: readonly string[]])[] = [
  [
    'mail.example.org',
    ['mail.example.org'],
    ['xmail.example.org', 'mail.example.org.evil.com', 'mailxexample.org', 'example.org', ''],
  ],
  [
    '*.example.org',
    ['a.example.org', 'a-b.example.org'],
    ['a.b.example.org', 'example.org', '.example.org.', 'aexample.org', 'a.example.com'],
  ],
  ['**.example.org', ['a.example.org', 'a.b.c.example.org'], ['example.org', 'aexample.org', 'a.example.org.b']],
  ['www.**.org', ['www.a.org', 'www.a.b.org'], ['www.org', 'ftp.a.org']],
  ['*', ['localhost'], ['a.b']],
  ['**', ['localhost', 'a.b.c'], ['']],
  ['mail?.example.org', ['mail1.example.org'], ['mail.example.org', 'mail12.example.org', 'mail..example.org']],
  ['mail?', ['mail1'], ['mail.', 'mail']],
  ['*-db.example.org', ['a-db.example.org', '-db.example.org'], ['a.b-db.example.org', 'adb.example.org']],
  ['www*.example.org', ['www.example.org', 'www2.example.org'], ['ww.example.org', 'www.2.example.org']],
  [
    'db[123].example.org',
    ['db1.example.org', 'db3.example.org'],
    ['db4.example.org', 'db.example.org', 'db12.example.org', 'db[1].example.org'],
  ],
  ['db[a-c].example.org', ['dba.example.org', 'dbb.example.org'], ['dbd.example.org', 'db-.example.org']],
  [
    'db[!a].example.org',
    ['dbb.example.org', 'db1.example.org'],
    ['dba.example.org', 'db.example.org', 'db..example.org'],
  ],
  ['x[!a]example.org', ['x-example.org', 'xbexample.org'], ['x.example.org', 'xaexample.org']],
  ['x?example.org', ['x-example.org'], ['x.example.org']],
  ['MAIL.Example.ORG', ['mail.example.org'], ['mail.example.com']],
  ['DB[A-C].example.org', ['dba.example.org'], ['dbd.example.org']],
  ['xn--bcher-kva.example.org', ['xn--bcher-kva.example.org'], ['bcher.example.org']],
]

for (const [pattern, matching, other] of table) {
  test(pattern, () => {
    for (const name of matching) assert.ok(matches(pattern, name), `${name} is meant`)
    for (const name of other) assert.ok(!matches(pattern, name), `${name} is not meant`)
  })
}

test('the text is kept as it was written', () => assert.equal(parseNamePattern('*.Example.org').text, '*.Example.org'))

const unusable = [
  ...['', ' ', 'a b.org', 'a.org ', '\t', 'a.', 'a.org.', '.', '..', '.a.org', 'a..org', '*..org'],
  ...['a**.org', '**a.org', '***.org', 'a.b**c.org', '****'],
  ...['a_b.org', 'b\u00fccher.org', 'a/b', 'a\\d.org', 'a+.org', '(a).org', 'a|b.org', '^a.org', 'a$.org', '{a}.org'],
  ...[
    '[',
    ']',
    '[]',
    '[!]',
    '[a.org',
    'a].org',
    '[a.b].org',
    '[[a]].org',
    '[^a].org',
    '[a\\]b].org',
    '[!!a].org',
    '[z-a].org',
  ],
  ...['a\0.org', 'a\n.org', 'http://a.org', 'a.org:80', '192.0.2.1/24', '\u212aa.org'],
]
for (const text of unusable) {
  test(`${JSON.stringify(text)} cannot be a pattern`, () => {
    assert.throws(
      () => parseNamePattern(text),
      (error) => error instanceof Error && !(error instanceof SyntaxError) && /^[^\n]{10,200}$/.test(error.message),
      'an error with a sentence for the operator',
    )
  })
}

describe('wildcard names', () => {
  const table: readonly (readonly [patterns: readonly string[], name: string, allowed: boolean])[] = [
    [['*.example.org'], '*.example.org', true],
    [['**.example.org'], '*.example.org', true],
    [['**.example.org'], '*.a.b.example.org', true],
    [['*.example.org'], '*.a.example.org', false],
    [['*.example.org'], '*.org', false],
    [['www.example.org'], '*.example.org', false],
    [['?.example.org'], '*.example.org', false],
    [['[!a].example.org'], '*.example.org', false],
    [['*a.example.org'], '*.example.org', false],
    [['w*.example.org'], '*.example.org', false],
    [['*-.example.org', '*?.example.org'], '*.example.org', false],
    [['www.example.org', '*.example.org'], '*.example.org', true],
    [['*.example.com'], '*.example.org', false],
    [['a.*.org'], '*.example.org', false],
  ]
  for (const [patterns, name, allowed] of table) {
    test(`${patterns.join(' ')} and ${name}`, () => {
      assert.equal(covers(patterns, true, name), allowed, 'with wildcard = yes')
      assert.equal(covers(patterns, false, name), false, 'without it')
    })
  }
  test('wildcard = yes changes nothing for single names', () => {
    for (const name of ['a.example.org', 'a.b.example.org', 'example.org'])
      assert.equal(covers(['*.example.org'], true, name), covers(['*.example.org'], false, name))
  })
  test('no pattern covers nothing', () => assert.equal(covers([], true, 'a.example.org'), false))
})

// properties --------------------------------------------------------------------------------------

/** The same rules once more, told by walking along the two texts instead of by a regular expression. */
function matchesByHand(pattern: string, name: string): boolean {
  const matchLabels = (patterns: readonly string[], labels: readonly string[]): boolean => {
    const [first, ...rest] = patterns
    if (first === undefined) return labels.length === 0
    if (first !== '**')
      return labels[0] !== undefined && matchText(first, labels[0]) && matchLabels(rest, labels.slice(1))
    return labels.some(
      (_, i) => labels.slice(0, i + 1).every((one) => one !== '') && matchLabels(rest, labels.slice(i + 1)),
    )
  }
  const matchText = (glob: string, text: string): boolean => {
    if (glob === '') return text === ''
    if (glob[0] === '*') return matchText(glob.slice(1), text) || (text !== '' && matchText(glob, text.slice(1)))
    if (text === '') return false
    const choice = /^\[(!?)([^\]]+)\]/.exec(glob)
    if (choice === null) return (glob[0] === '?' || glob[0] === text[0]) && matchText(glob.slice(1), text.slice(1))
    return (
      isChosen(choice[2] ?? '', text[0] ?? '') !== (choice[1] === '!') &&
      matchText(glob.slice(choice[0].length), text.slice(1))
    )
  }
  const isChosen = (choices: string, character: string): boolean => {
    for (let i = 0; i < choices.length; i++) {
      const [from = '', dash, to] = choices.slice(i, i + 3)
      if (dash === '-' && to !== undefined) {
        if (from <= character && character <= to) return true
        i += 2
      } else if (from === character) return true
    }
    return false
  }
  return matchLabels(pattern.toLowerCase().split('.'), name.split('.'))
}

const character = fc.constantFrom('a', 'b', 'c', '1', '-')
const label = fc.array(character, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''))
const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
const globPart = fc.oneof(character, fc.constantFrom('*', '?', '[ab]', '[!a]', '[a-c]', '[!b-c1]', '[1-]', 'A'))
const globLabel = fc.oneof(
  fc.array(globPart, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('')),
  fc.constant('**'),
)
const pattern = fc
  .array(globLabel, { minLength: 1, maxLength: 4 })
  .map((labels) => labels.join('.'))
  .filter((text) => text.split('.').every((one) => one === '**' || (!one.includes('**') && one.split('*').length <= 4)))

test('the same names match as by walking along', () => {
  let matched = 0
  fc.assert(
    fc.property(pattern, name, (text, one) => {
      const expected = matchesByHand(text, one)
      assert.equal(matches(text, one), expected, `${text} and ${one}`)
      if (expected) matched += 1
    }),
    { numRuns: 3000 },
  )
  assert.ok(matched > 50, 'the property was put to the test')
})

test('without "**" a pattern means names of exactly as many labels', () => {
  fc.assert(
    fc.property(pattern, name, (text, one) => {
      fc.pre(!text.includes('**') && matches(text, one))
      assert.equal(one.split('.').length, text.split('.').length)
    }),
    { numRuns: 300, maxSkipsPerRun: 1000 },
  )
})

test('a name as a pattern means itself and nothing else', () => {
  fc.assert(
    fc.property(name, name, (one, other) => {
      assert.ok(matches(one, one))
      assert.equal(matches(one, other), one === other)
    }),
  )
})

test('any text is a pattern or an error, and neither takes long', () => {
  const text = fc.oneof(fc.string({ maxLength: 30 }), fc.stringMatching(/^[ab*?.[\]!-]{1,20}$/))
  fc.assert(
    fc.property(text, name, (one, tried) => {
      try {
        parseNamePattern(one).matches(tried)
      } catch (error) {
        assert.ok(error instanceof Error && !(error instanceof SyntaxError), `${one}: ${error}`)
      }
    }),
    { numRuns: 2000 },
  )
})

test('no pattern makes matching slow', () => {
  // The caller chooses the name: what begins to match in very many ways must not be tried in all of them.
  const tries: readonly (readonly [string, string])[] = [
    [
      `${Array.from({ length: 4 }, () => '*a*a*').join('.')}c`,
      Array.from({ length: 4 }, () => 'a'.repeat(13)).join('.'),
    ],
    [
      `${Array.from({ length: 9 }, () => '**').join('.')}.c`,
      `${Array.from({ length: 9 }, () => 'a'.repeat(25)).join('.')}.b`,
    ],
    ['*a*a*c.**.*a*a*c.**.c', `${Array.from({ length: 9 }, () => 'a'.repeat(25)).join('.')}.b`],
  ]
  for (const [text, tried] of tries) {
    // Of the processor's time: others may use it, too.
    const before = process.threadCpuUsage()
    assert.equal(matches(text, tried), false)
    const tookMs = process.threadCpuUsage(before).user / 1000
    assert.ok(tookMs < 300, `${text} took ${Math.round(tookMs)} ms`)
  }
})
