// Run in a network namespace by firewall.test.ts: real nftables, real iptables, packets that come over a cable.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { machine, makeNeighbour, makeToolFolder, run, startFirewallProcess } from './firewall-world.ts'
import { makeTempFolder } from './peers/child.ts'
import { main } from './program.ts'
import { until } from './until.ts'

const port = 8080
const config = `[verification "http"]
type = http01
listener = 0.0.0.0:${port}
listener = [::]:${port}
listener = 127.0.0.1:8081
[verification "alpn"]
type = tlsalpn01
listener = ${machine.ip}:8443
`
/** Debian's workstation, but stricter. */
const strict = `flush ruleset
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    meta l4proto ipv6-icmp accept
    tcp dport 22 accept
  }
}
table ip extra {
  chain in {
    type filter hook input priority 20;
    reject
  }
}
`

const folder = makeTempFolder('firewall-tools')
const tools = makeToolFolder(join(folder.path, 'bin'))
const nft = (args: string[], input?: string) => run(join(tools, 'nft'), args, input)
const rules = () => nft(['list', 'ruleset'])
const load = (text: string) => nft(['-f', '-'], text)
const iptables = (kind: string, ...args: string[]) => run(join(tools, `iptables-${kind}`), args)
const ip6tables = (kind: string, ...args: string[]) => run(join(tools, `ip6tables-${kind}`), args)

const neighbour = await makeNeighbour()
const servers = [8080, 8443].map((at) => createServer((socket) => socket.destroy()).listen({ host: '::', port: at }))
await Promise.all(servers.map((server) => once(server, 'listening')))
after(() => {
  neighbour[Symbol.dispose]()
  for (const server of servers) server.close()
  folder[Symbol.dispose]()
})

const shared = await startFirewallProcess(config, tools)

test('nftables: closed before, open for as long as it is wanted, and what others did meanwhile stays', async () => {
  load(strict)
  const before = rules()
  await using asker = shared.asker()
  assert.equal(await neighbour.reaches(port), false)
  await asker.ask('open', { port })
  assert.equal(await neighbour.reaches(port), true)
  assert.equal(await neighbour.reaches(port, 'ip6'), true)
  assert.equal(await neighbour.reaches(8443), false)
  nft(['insert', 'rule', 'inet', 'filter', 'input', 'tcp', 'dport', '99', 'accept'])
  await asker.ask('close', { port })
  assert.equal(await neighbour.reaches(port), false)
  nft(['delete', 'rule', 'inet', 'filter', 'input', 'handle', handleOf('tcp dport 99')])
  assert.equal(rules(), before)
  // For the address that the listener has, and for no other.
  await asker.ask('open', { port: 8443 })
  assert.match(rules(), new RegExp(`ip daddr ${machine.ip} tcp dport 8443 accept`))
  assert.equal(await neighbour.reaches(8443), true)
  assert.equal(await neighbour.reaches(8443, 'ip6'), false)
  await asker.ask('open', { port: 8081 })
  await assert.rejects(asker.ask('open', { port: 22 }), /no validation's listener of the configuration has port 22/)
  await asker[Symbol.asyncDispose]()
  await until('what a connection opened is closed with it', () => rules() === before)
})

test('a reload of the rules takes ours away; a stranger that has its handle now is left alone', async () => {
  load(strict)
  await using asker = shared.asker()
  await asker.ask('open', { port })
  load(strict.replace('tcp dport 22 accept', 'tcp dport { 22 } accept; tcp dport 23 accept; tcp dport 24 accept'))
  const reloaded = rules()
  assert.equal(await neighbour.reaches(port), false)
  await asker.ask('open', { port })
  assert.equal(await neighbour.reaches(port), true)
  load(strict.replace('tcp dport 22 accept', 'tcp dport { 22 } accept; tcp dport 23 accept; tcp dport 24 accept'))
  await asker.ask('close', { port })
  await asker.ask('close', { port })
  assert.equal(rules(), reloaded)
})

test('more connections than anybody needs are refused, and cost the others nothing', async () => {
  load(strict)
  await using first = shared.asker()
  await first.ask('open', { port })
  const sockets = Array.from({ length: 200 }, () => connect(shared.socket).on('error', () => undefined))
  await until('the word', () => /more than 16 connections at once/.test(shared.child.log()))
  await first.ask('close', { port })
  assert.equal(await neighbour.reaches(port), false)
  for (const socket of sockets) socket.destroy()
  await until('room', async () => {
    await using next = shared.asker()
    return await next.ask('open', { port }).then(
      () => true,
      () => false,
    )
  })
})

test('two at once have one rule, which goes with the last of them', async () => {
  load(strict)
  const before = rules()
  await using first = shared.asker()
  await using second = shared.asker()
  await Promise.all([first, second, first].map((asker) => asker.ask('open', { port: 8443 })))
  assert.equal(rules().match(/acmems/g)?.length, 2)
  await first[Symbol.asyncDispose]()
  assert.equal(await neighbour.reaches(8443), true)
  await second.ask('close', { port: 8443 })
  await until('it is closed', () => rules() === before)
  await using third = shared.asker()
  await third.ask('open', { port: 8443 })
  await shared[Symbol.asyncDispose]()
  assert.equal(rules(), before)
})

test('killed, it leaves nothing: its guard deletes the rule; without the guard its successor or --close does', async () => {
  load(strict)
  const before = rules()
  await using killed = await startFirewallProcess(config, tools)
  await using asker = killed.asker()
  await asker.ask('open', { port })
  assert.notEqual(rules(), before)
  process.kill(killed.child.pid, 'SIGKILL')
  await until('the guard deletes it', () => rules() === before)

  for (const successor of ['start', '--close']) {
    await using second = await startFirewallProcess(config, tools)
    await using other = second.asker()
    await other.ask('open', { port })
    // Stopped first: it would start another guard.
    process.kill(second.child.pid, 'SIGSTOP')
    process.kill(second.guardPid(), 'SIGKILL')
    process.kill(second.child.pid, 'SIGKILL')
    await until('it ends', () => second.child.hasEnded())
    assert.notEqual(rules(), before)
    if (successor === 'start') await (await startFirewallProcess(config, tools))[Symbol.asyncDispose]()
    else run('env', [`PATH=${tools}:${process.env.PATH}`, process.execPath, main, 'firewall', '--close'])
    assert.equal(rules(), before)
  }
})

test('what cannot be closed when it is to be is closed later', async () => {
  load(strict)
  const before = rules()
  const [real, own, broken] = ['nft', 'own-nft', 'broken'].map((name) => join(tools, name)) as [string, string, string]
  await using firewall = await startFirewallProcess(config, tools)
  await using asker = firewall.asker()
  await asker.ask('open', { port })
  renameSync(real, own)
  writeFileSync(real, `#!/bin/sh\n[ ! -e ${broken} ] || exit 1\nexec ${own} "$@"\n`, { mode: 0o755 })
  writeFileSync(broken, '')
  await asker.ask('close', { port })
  await until('it is said', () => firewall.child.log().includes('"msg":"port not closed; it is tried again"'))
  rmSync(broken)
  assert.notEqual(rules(), before)
  await until('it is closed', () => rules() === before)
  renameSync(own, real)
})

for (const kind of ['nft', 'legacy']) {
  test(`ip6tables-${kind}: IPv6 has its own rule, which goes, too, and the guard deletes`, async () => {
    nft(['flush', 'ruleset'])
    ip6tables(kind, '-A', 'INPUT', '-p', 'ipv6-icmp', '-j', 'ACCEPT')
    ip6tables(kind, '-P', 'INPUT', 'DROP')
    const before = ip6tables(kind, '-S')
    await using firewall = await startFirewallProcess(config, tools, {
      capabilities: kind === 'legacy' ? 'net_admin,+net_raw' : 'net_admin',
    })
    await using asker = firewall.asker()
    assert.equal(await neighbour.reaches(port, 'ip6'), false)
    for (const end of ['asked', 'killed']) {
      await asker.ask('open', { port })
      assert.equal(await neighbour.reaches(port, 'ip6'), true)
      assert.match(
        ip6tables(kind, '-S', 'INPUT', '1'),
        new RegExp(`^-A INPUT -p tcp -m tcp --dport ${port} -m comment --comment "acmems \\d+ \\d+" -j ACCEPT`),
      )
      if (end === 'asked') await asker.ask('close', { port })
      else process.kill(firewall.child.pid, 'SIGKILL')
      await until('it is closed', () => ip6tables(kind, '-S') === before)
      assert.equal(await neighbour.reaches(port, 'ip6'), false)
    }
    ip6tables(kind, '-P', 'INPUT', 'ACCEPT')
    ip6tables(kind, '-F')
  })

  test(`iptables-${kind}: its rule is one that iptables itself can read`, async () => {
    nft(['flush', 'ruleset'])
    iptables(kind, '-A', 'INPUT', '-i', 'lo', '-j', 'ACCEPT')
    iptables(kind, '-A', 'INPUT', '-p', 'tcp', '--dport', '22', '-m', 'conntrack', '--ctstate', 'NEW', '-j', 'ACCEPT')
    iptables(kind, '-P', 'INPUT', 'DROP')
    const before = iptables(kind, '-S')
    const firewall = await startFirewallProcess(config, tools, {
      // Legacy iptables comes to its tables by a raw socket.
      capabilities: kind === 'legacy' ? 'net_admin,+net_raw' : 'net_admin',
    })
    const asker = firewall.asker()
    assert.equal(await neighbour.reaches(8443), false)
    await asker.ask('open', { port: 8443 })
    assert.equal(await neighbour.reaches(8443), true)
    assert.match(
      iptables(kind, '-S', 'INPUT', '1'),
      new RegExp(
        `^-A INPUT -d ${machine.ip}/32 -p tcp -m tcp --dport 8443 -m comment --comment "acmems \\d+ \\d+" -j ACCEPT`,
      ),
    )
    iptables(kind, '-A', 'INPUT', '-s', '192.0.2.1', '-j', 'DROP')
    await asker.ask('close', { port: 8443 })
    assert.equal(await neighbour.reaches(8443), false)
    iptables(kind, '-D', 'INPUT', '-s', '192.0.2.1', '-j', 'DROP')
    assert.equal(iptables(kind, '-S'), before)
    // Not every machine with iptables has nft.
    renameSync(join(tools, 'nft'), join(tools, 'no-nft'))
    await asker.ask('open', { port })
    assert.equal(await neighbour.reaches(port), true)
    process.kill(firewall.child.pid, 'SIGKILL')
    await until('the guard deletes it', () => iptables(kind, '-S') === before)
    renameSync(join(tools, 'no-nft'), join(tools, 'nft'))
    await asker[Symbol.asyncDispose]()
    await firewall[Symbol.asyncDispose]()
    iptables(kind, '-P', 'INPUT', 'ACCEPT')
    iptables(kind, '-F')
  })
}

function handleOf(rule: string): string {
  return new RegExp(`${rule} .*# handle (\\d+)`).exec(nft(['-a', 'list', 'ruleset']))?.[1] ?? ''
}
