// The embedded DNS server, asked by dig and by Pebble.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { accountAt, startAcmems } from './acmems.ts'
import { makeDnsWorld } from './dns-responder-world.ts'
import { certificatesOf, makeCsr, namesOf, postCsr } from './host.ts'
import { startBindResolver } from './peers/bind-resolver.ts'
import { dig } from './peers/dig.ts'
import { startPebble } from './peers/pebble.ts'
import { freePort, requirePeer } from './peers/peers.ts'

const [one, two] = ['LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM', 'qOOczTY5Tic_xZ6HcMOc_gmtoMLHDhK3oGRvkiefQnx7']
const soa = 'acme.example.net. 0 IN SOA ns1.example.net. dns\\.admin.example.net. 1 3600 600 86400 0'

test('what dig sees of a zone', async (t) => {
  if (!requirePeer(t, 'dig')) return
  await using world = await makeDnsWorld()
  await world.put('host.example.org', one)
  await world.put('host.example.org', two)
  const ask = (...args: string[]) => dig(world.port, ...args)

  await t.test('the values of a delegated name, side by side, with authority and without recursion', async () => {
    const { status, flags, answer } = await ask('host.example.org.acme.example.net', 'TXT')
    assert.equal(status, 'NOERROR')
    assert.deepEqual(flags, ['qr', 'aa', 'rd'])
    assert.deepEqual([...answer].sort(), [
      `host.example.org.acme.example.net. 0 IN TXT "${one}"`,
      `host.example.org.acme.example.net. 0 IN TXT "${two}"`,
    ])
  })
  await t.test('the same under the name itself, whoever delegated that', async () => {
    const { status, answer } = await ask('_acme-challenge.host.example.org', 'TXT')
    assert.equal(status, 'NOERROR')
    assert.equal(answer.length, 2)
  })
  await t.test('the case of the question comes back, also in the names of the records', async () => {
    const { text, authority } = await ask('HoSt.eXample.org.aCme.eXample.nEt', 'TXT')
    assert.match(text, /^;HoSt\.eXample\.org\.aCme\.eXample\.nEt\.\s+IN\s+TXT$/m)
    assert.match(text, /^HoSt\.eXample\.org\.aCme\.eXample\.nEt\.\s+0\s+IN\s+TXT/m)
    assert.deepEqual(authority, [])
    assert.deepEqual((await ask('nO.aCme.eXample.nEt', 'TXT')).authority, [
      soa.replace('acme.example.net', 'aCme.eXample.nEt'),
    ])
  })
  await t.test('SOA and NS of the zone', async () => {
    assert.deepEqual((await ask('acme.example.net', 'SOA')).answer, [soa.replace(' 0 IN', ' 3600 IN')])
    assert.deepEqual((await ask('acme.example.net', 'NS')).answer, [
      'acme.example.net. 3600 IN NS ns1.example.net.',
      'acme.example.net. 3600 IN NS ns2.example.net.',
    ])
  })
  await t.test('NODATA: the name is there, the type is not', async () => {
    const host = 'host.example.org.acme.example.net'
    for (const [name, types] of [
      [host, ['A', 'AAAA', 'CAA', 'CNAME', 'NS', 'SOA', 'DS', 'TYPE65280']],
      ['acme.example.net', ['A', 'CAA', 'TXT']],
      ['example.org.acme.example.net', ['TXT', 'NS']],
      ['org.acme.example.net', ['A']],
    ] as const)
      for (const type of types) {
        const { status, flags, answer, authority } = await ask(name, type)
        assert.deepEqual(
          { name, type, status, answer, authority },
          { name, type, status: 'NOERROR', answer: [], authority: [soa] },
        )
        assert.ok(flags.includes('aa'))
      }
  })
  await t.test('NXDOMAIN: neither the name nor anything below it', async () => {
    for (const name of [
      'other.acme.example.net',
      'below.host.example.org.acme.example.net',
      'xample.org.acme.example.net',
      'rg.acme.example.net',
    ]) {
      const { status, flags, authority } = await ask(name, 'TXT')
      assert.deepEqual({ name, status, authority }, { name, status: 'NXDOMAIN', authority: [soa] })
      assert.ok(flags.includes('aa'))
    }
  })
  await t.test('REFUSED: what is not ours, transfers, other classes', async () => {
    for (const args of [
      ['example.net', 'SOA'],
      ['xacme.example.net', 'TXT'],
      ['_acme-challenge.unknown.example', 'TXT'],
      ['.', 'NS'],
      ['acme.example.net', 'AXFR'],
      ['acme.example.net', 'IXFR=1'],
      ['version.bind', 'TXT', 'CH'],
    ]) {
      const { status, text } = await ask(...args)
      // dig words a refused transfer differently.
      assert.ok(status === 'REFUSED' || text.includes('Transfer failed'), text)
      assert.doesNotMatch(text, /ra[; ]/)
    }
  })
  await t.test("ANY gets RFC 8482's answer", async () => {
    for (const name of ['acme.example.net', 'host.example.org.acme.example.net'])
      assert.match((await ask(name, 'ANY', '+notcp')).answer.join(), /IN HINFO "RFC8482" ""$/)
    assert.equal((await ask('other.acme.example.net', 'ANY')).status, 'NXDOMAIN')
  })
  await t.test(
    'EDNS: our size, the DO bit as it came, BADVERS for a version to come, none where none was',
    async () => {
      assert.match((await ask('acme.example.net', 'SOA', '+dnssec')).text, /EDNS: version: 0, flags: do; udp: 1232/)
      assert.match(
        (await ask('acme.example.net', 'SOA', '+edns=0', '+nsid', '+subnet=192.0.2.0/24')).text,
        /version: 0, flags:; udp: 1232/,
      )
      const future = await ask('acme.example.net', 'SOA', '+edns=1', '+noednsneg')
      assert.equal(future.status, 'BADVERS')
      assert.deepEqual(future.answer, [])
      assert.doesNotMatch((await ask('acme.example.net', 'SOA', '+noedns')).text, /EDNS/)
    },
  )
  await t.test('other opcodes', async () => {
    for (const opcode of ['NOTIFY', 'UPDATE', 'STATUS', '9'])
      assert.equal((await ask('acme.example.net', 'SOA', `+opcode=${opcode}`)).status, 'NOTIMP')
  })
  await t.test('much does not fit: truncated by UDP, whole by TCP, several questions on one connection', async () => {
    for (let i = 0; i < 60; i++) await world.put('many.example.org', `${i}`.padStart(43, 'x'))
    const name = 'many.example.org.acme.example.net'
    for (const args of [['+bufsize=4096'], ['+noedns'], ['+bufsize=512']]) {
      const cut = await ask(name, 'TXT', '+ignore', ...args)
      assert.ok(cut.flags.includes('tc') && cut.answer.length === 0, cut.text)
    }
    assert.equal((await ask(name, 'TXT')).answer.length, 60)
    const { text } = await ask('+tcp', '+keepopen', name, 'TXT', 'acme.example.net', 'SOA', '+tcp', '+keepopen')
    assert.equal(text.split('status: NOERROR').length - 1, 2)
  })
  await t.test('what is over is not told', async () => {
    await world.put('late.example.org', one, -1)
    assert.equal((await ask('late.example.org.acme.example.net', 'TXT')).status, 'NXDOMAIN')
    await world.remove('host.example.org', one)
    assert.equal((await ask('host.example.org.acme.example.net', 'TXT')).answer.length, 1)
    await world.remove('host.example.org', two)
    assert.equal((await ask('host.example.org.acme.example.net', 'TXT')).status, 'NXDOMAIN')
    assert.equal((await ask('org.acme.example.net', 'A')).status, 'NOERROR')
  })
  assert.deepEqual(world.errors, [])
})

test('without a zone, as acmems had it', async (t) => {
  if (!requirePeer(t, 'dig')) return
  await using world = await makeDnsWorld([{ name: undefined, nameServers: [], hostmaster: undefined }])
  await world.put('host.example.org', one)
  const ask = (...args: string[]) => dig(world.port, ...args)
  assert.deepEqual((await ask('_acme-challenge.host.example.org', 'TXT')).answer, [
    `_acme-challenge.host.example.org. 0 IN TXT "${one}"`,
  ])
  const nodata = await ask('_acme-challenge.host.example.org', 'CAA')
  assert.deepEqual([nodata.status, nodata.answer.length, nodata.authority.length], ['NOERROR', 0, 1])
  assert.equal((await ask('_acme-challenge.host.example.org', 'SOA')).answer.length, 1)
  assert.equal((await ask('_acme-challenge.other.example.org', 'TXT')).status, 'NXDOMAIN')
  assert.equal((await ask('host.example.org', 'A')).status, 'REFUSED')
  assert.equal((await ask('a\\.b._acme-challenge.org', 'TXT')).status, 'REFUSED')
  assert.equal((await ask('_acme-challenge.a\\.b.org', 'TXT')).status, 'REFUSED')
})

test("acmems' own configuration: Pebble asks us directly; name and wildcard at once, two orders at once", async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'openssl')) return
  const port = await freePort()
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${port}` })
  await using acmems = await startAcmems(`${accountAt(pebble)}
[verification "dns"]
# the challenge type has to be defined first!
type = dns01-server
# define where to bind IP/port the DNS server
listener=127.0.0.1:${port}
[auth "all"]
ip = 127.0.0.1
domain = **.example.test
wildcard = yes
`)
  const names = ['www.example.test', '*.www.example.test']
  const replies = await Promise.all([1, 2, 3].map(() => postCsr(acmems.signUrl, makeCsr({ names }))))
  for (const { status, text } of replies) {
    assert.equal(status, 200, text + acmems.log() + pebble.log())
    assert.deepEqual(namesOf(certificatesOf(text)[0]), ['DNS:*.www.example.test', 'DNS:www.example.test'])
  }
  assert.equal((await dig(port, '_acme-challenge.www.example.test', 'TXT')).status, 'NXDOMAIN')
})

test('one static CNAME: Pebble by way of a BIND that has the names and delegates to us', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'named') || !requirePeer(t, 'openssl') || !requirePeer(t, 'dig'))
    return
  const port = await freePort()
  await using bind = await startBindResolver({
    zone: 'example.test',
    records: [
      '_acme-challenge.host IN CNAME host.example.test.acme.example.net.',
      '_acme-challenge IN CNAME example.test.acme.example.net.',
    ],
    forward: { zone: 'acme.example.net', port },
  })
  await using pebble = await startPebble({ dnsServer: `127.0.0.1:${bind.port}` })
  await using acmems = await startAcmems(`${accountAt(pebble)}
[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${port}
zone = acme.example.net
ns = ns1.example.net
[auth "all"]
ip = 127.0.0.1
domain = **.test
wildcard = yes
`)
  // What a resolver heard before it must not remember; BIND does to the end of the second, whatever the TTL.
  assert.equal((await dig(bind.port, '_acme-challenge.host.example.test', 'TXT')).status, 'NXDOMAIN')
  await setTimeout(1100)
  const names = ['host.example.test', '*.host.example.test', 'example.test', '*.example.test']
  const reply = await postCsr(acmems.signUrl, makeCsr({ names }))
  assert.equal(reply.status, 200, reply.text + acmems.log() + pebble.log() + bind.log())
  assert.equal(namesOf(certificatesOf(reply.text)[0]).length, 4)
  const foreign = await postCsr(acmems.signUrl, makeCsr({ names: ['nocname.example.test'] }))
  assert.equal(foreign.status, 421, foreign.text)
})
