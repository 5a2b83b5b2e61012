// Where our rule must go, in rulesets as their makers left them (`nft -j list ruleset`) and in single traps.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readSavedTables } from './iptables-save.ts'
import { readNftRuleset } from './nft-ruleset.ts'
import type { Opening } from './opening.ts'

const port80: Opening = { family: 'ip', protocol: 'tcp', port: 80, address: undefined }
const own = 'acmems 100 200'
const rulesets = join(import.meta.dirname, '../../test/firewall-rulesets')

function placesIn(json: string, opening: Partial<Opening> = {}): string[] {
  const found = readNftRuleset(json).findDropping({ ...port80, ...opening }, own)
  return found.map(({ family, table, chain }) => `${family} ${table} ${chain}`)
}

const real: Readonly<Record<string, { readonly ip: readonly string[]; readonly ip6: readonly string[] }>> = {
  // It drops nothing.
  debian: { ip: [], ip6: [] },
  workstation: { ip: ['inet filter input'], ip6: ['inet filter input'] },
  // Only what is forwarded.
  docker: { ip: [], ip6: [] },
  // Only those who were banned.
  fail2ban: { ip: [], ip6: [] },
  // What comes from nowhere is dropped in prerouting, too: that stays so.
  firewalld: { ip: ['inet firewalld filter_INPUT'], ip6: ['inet firewalld filter_INPUT'] },
  ufw: { ip: ['ip filter INPUT'], ip6: ['ip6 filter INPUT'] },
}

for (const [name, expected] of Object.entries(real)) {
  test(`the chains that drop: ${name}`, () => {
    const json = readFileSync(join(rulesets, `${name}.json`), 'utf8')
    assert.deepEqual(placesIn(json), expected.ip)
    assert.deepEqual(placesIn(json, { family: 'ip6' }), expected.ip6)
  })
}

type Statement = Readonly<Record<string, unknown>>
const equals = (left: unknown, right: unknown, op = '=='): Statement => ({ match: { op, left, right } })
const payload = (protocol: string, field: string) => ({ payload: { protocol, field } })
const dport = payload('tcp', 'dport')
const sender = payload('ip', 'saddr')
const accept: Statement = { accept: null }
const drop: Statement = { drop: null }
const reject: Statement = { reject: { type: 'icmpx', expr: 'admin-prohibited' } }

/** Does it drop, with these rules in its base chain and its other chains? */
function drops(
  rules: readonly (readonly Statement[] | { readonly comment: string; readonly expr: readonly Statement[] })[],
  more: {
    readonly policy?: string
    readonly other?: readonly (readonly Statement[])[]
    readonly items?: unknown[]
  } = {},
): boolean {
  const of = { family: 'inet', table: 't' }
  const rule = (chain: string) => (one: (typeof rules)[number]) => ({
    rule: { ...of, chain, handle: 1, ...('expr' in one ? one : { expr: one }) },
  })
  const nftables = [
    { chain: { ...of, name: 'in', type: 'filter', hook: 'input', prio: 0, policy: more.policy ?? 'accept' } },
    { chain: { ...of, name: 'other' } },
    ...(more.items ?? []),
    ...rules.map(rule('in')),
    ...(more.other ?? []).map(rule('other')),
  ]
  return placesIn(JSON.stringify({ nftables }), { address: '192.0.2.1' }).length > 0
}

test('what a chain does with a connection from anywhere to our port', () => {
  const jump: Statement = { jump: { target: 'other' } }
  const goto: Statement = { goto: { target: 'other' } }
  const state = { ct: { key: 'state' } }
  const named = (elem: unknown[]) => ({ items: [{ set: { family: 'inet', table: 't', name: 's', elem } }] })
  const cases: readonly (readonly [string, boolean, boolean])[] = [
    ['policy', drops([], { policy: 'drop' }), true],
    ['accepted before', drops([[accept], [drop]]), false],
    ['our port among several', drops([[equals(dport, { set: [22, { range: [79, 81] }] }), accept], [drop]]), false],
    ['another port', drops([[equals(dport, 22), accept], [reject]]), true],
    ['all but one port dropped', drops([[equals(dport, 22, '!='), drop]]), true],
    ['another port dropped', drops([[equals(dport, 22), drop]]), false],
    ['ports below', drops([[equals(dport, 1024, '<'), drop]]), true],
    ['the other protocol', drops([[equals(payload('udp', 'dport'), 80), drop]]), false],
    ['a named set', drops([[equals(dport, '@s'), accept], [drop]], named([80, 443])), false],
    ['a named set without', drops([[equals(dport, '@s'), accept], [drop]], named([443])), true],
    ['a sender banned', drops([[equals(sender, '192.0.2.66'), drop]]), false],
    ['all senders but one', drops([[equals(sender, '192.0.2.66', '!='), drop]]), true],
    ['one sender welcome', drops([[equals(sender, '192.0.2.66'), accept], [drop]]), true],
    ['too many', drops([[{ limit: { rate: 5, per: 'second', inv: true } }, drop]]), false],
    ['few accepted', drops([[{ limit: { rate: 5, per: 'second' } }, accept], [drop]]), true],
    ['by cable', drops([[equals({ meta: { key: 'iifname' } }, 'eth0'), drop]]), true],
    ['only from itself', drops([[equals({ meta: { key: 'iif' } }, 'lo'), accept], [drop]]), true],
    ['all but itself', drops([[equals({ meta: { key: 'iifname' } }, 'lo', '!='), accept], [drop]]), false],
    ['known connections', drops([[equals(state, ['established', 'related'], 'in'), accept], [drop]]), true],
    ['new connections', drops([[equals(state, 'new', 'in'), accept], [drop]]), false],
    [
      'our address',
      drops([[equals(payload('ip', 'daddr'), { prefix: { addr: '192.0.2.0', len: 24 } }), accept], [drop]]),
      false,
    ],
    ['another address', drops([[equals(payload('ip', 'daddr'), '198.51.100.1'), drop]]), false],
    [
      "not the machine's own",
      drops([[equals({ fib: { result: 'type', flags: ['daddr'] } }, 'local', '!='), drop]]),
      false,
    ],
    [
      'no first packet',
      drops([[equals({ '&': [payload('tcp', 'flags'), ['fin', 'syn', 'rst', 'ack']] }, 'syn', '!='), drop]]),
      false,
    ],
    ['jump', drops([[jump], [accept]], { other: [[drop]] }), true],
    ['jump and back', drops([[jump], [accept]], { other: [[{ return: null }], [drop]], policy: 'drop' }), false],
    ['goto does not come back', drops([[goto], [accept]], { other: [], policy: 'drop' }), true],
    [
      'a verdict map',
      drops(
        [
          [
            {
              vmap: {
                key: dport,
                data: {
                  set: [
                    [22, accept],
                    [80, jump],
                  ],
                },
              },
            },
          ],
        ],
        { other: [[drop]] },
      ),
      true,
    ],
    [
      'a verdict map of states',
      drops(
        [
          [
            {
              vmap: {
                key: state,
                data: {
                  set: [
                    ['invalid', drop],
                    ['new', accept],
                  ],
                },
              },
            },
          ],
        ],
        { policy: 'drop' },
      ),
      false,
    ],
    ['our rule', drops([{ comment: own, expr: [equals(dport, 80), accept] }, [drop]]), false],
    ["another firewall's", drops([{ comment: 'acmems 7 7', expr: [equals(dport, 80), accept] }, [drop]]), true],
  ]
  for (const [name, is, expected] of cases) assert.equal(is, expected, name)
})

test('the same in the words of iptables-save', () => {
  const drops = (rules: string, policy = 'ACCEPT') =>
    readSavedTables(`*filter\n:INPUT ${policy} [0:0]\n:own - [0:0]\n${rules}\nCOMMIT\n`).findDropping(
      { ...port80, address: '192.0.2.1' },
      own,
    ).length > 0
  assert.equal(drops('', 'DROP'), true)
  assert.equal(drops('-A INPUT -p tcp -m multiport --dports 22,80:90 -j ACCEPT', 'DROP'), false)
  assert.equal(
    drops('-A INPUT -i lo -j ACCEPT\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -j REJECT'),
    true,
  )
  assert.equal(drops('-A INPUT -m conntrack --ctstate INVALID -j DROP\n-A INPUT -s 192.0.2.66/32 -j DROP'), false)
  assert.equal(drops('-A INPUT ! -s 10.0.0.0/8 -p tcp -m tcp --dport 80 -j own\n-A own -j DROP'), true)
  assert.equal(drops('-A INPUT -d 192.0.2.0/24 -g own\n-A own -p tcp -j ACCEPT', 'DROP'), false)
  assert.equal(drops('-A INPUT -m recent --rcheck --seconds 60 --name bad -j DROP'), false)
  assert.equal(drops(`-A INPUT -p tcp -m tcp --dport 80 -m comment --comment "${own}" -j ACCEPT`, 'DROP'), false)
  assert.equal(drops('-A INPUT -p tcp -m tcp --dport 80 -m comment --comment "acmems 7 7" -j ACCEPT', 'DROP'), true)
})
