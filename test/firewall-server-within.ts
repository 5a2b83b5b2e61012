// Run in a network namespace by firewall.test.ts: the server and Pebble, with a firewall between them.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { accountAndHttp01, startAcmems } from './acmems.ts'
import { machine, makeToolFolder, run, startFirewallProcess } from './firewall-world.ts'
import { makeCsr, postCsr } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { startPebble } from './peers/pebble.ts'
import { until, untilLogged } from './until.ts'

run('ip', ['addr', 'add', `${machine.ip}/32`, 'dev', 'lo'])
// Where nobody answers, not even that nobody is there.
run('ip', ['route', 'add', '192.0.2.0/24', 'dev', 'lo'])
const folder = makeTempFolder('firewall-server')
const tools = makeToolFolder(join(folder.path, 'bin'))
const nft = (args: string[], input?: string) => run(join(tools, 'nft'), args, input)
const rules = () => nft(['list', 'ruleset'])
const port = 8080
const closed = `table inet filter { chain input { type filter hook input priority 0; tcp dport ${port} reject; }; }`

const pebble = await startPebble({ httpPort: port, authzReuse: 0, sleep: false })
const config = `${accountAndHttp01(pebble).replace('127.0.0.1:8080', `${machine.ip}:${port}`)}self-check = no
[auth "all"]
ip = 127.0.0.0/8
domain = **.example.test
[process]
firewall = ${join(folder.path, 'S')}
`
nft(['-f', '-'], closed)
const before = rules()
let firewall = await startFirewallProcess(config, tools, { folder: folder.path })
let acmems = await startAcmems(config)
after(async () => {
  await acmems.stop()
  await firewall[Symbol.asyncDispose]()
  await pebble.stop()
  folder[Symbol.dispose]()
})
const issue = (name: string) => postCsr(acmems.signUrl, makeCsr({ names: [name] }))
const isOpen = () => /acmems \d+ \d+/.test(rules())

test('the port is open while the CA validates, and at no other time', async () => {
  await pebble.setA('good.example.test', [machine.ip])
  await pebble.setA('bad.example.test', ['127.0.0.1'])
  assert.equal(rules(), before)
  const replies = await Promise.all([issue('good.example.test'), issue('bad.example.test')])
  assert.deepEqual(
    replies.map(({ status }) => status),
    [200, 421],
    replies.map(({ text }) => text).join() + acmems.log() + firewall.child.log(),
  )
  assert.equal(rules(), before)
  await untilLogged(firewall.child, /"msg":"port opened","port":8080|"port":8080,"msg":"port opened"/)
})

test('a firewall that is killed meanwhile opens the port again when it is back', async () => {
  await pebble.setA('slow.example.test', ['192.0.2.1'])
  const slow = issue('slow.example.test').catch(() => undefined)
  await until('it is open', isOpen)
  process.kill(firewall.child.pid, 'SIGKILL')
  await until('the guard closes it', () => rules() === before)
  firewall = await startFirewallProcess(config, tools, { folder: folder.path })
  await until('it is open again', isOpen)
  // The server's end is the end of what it wanted, too.
  process.kill(acmems.pid, 'SIGKILL')
  await until('it is closed', () => rules() === before)
  await slow
})

test('without its firewall the server goes on: the port may be open anyway', async () => {
  await acmems.stop()
  await firewall[Symbol.asyncDispose]()
  nft(['flush', 'ruleset'])
  acmems = await startAcmems(config)
  const reply = await issue('good.example.test')
  assert.equal(reply.status, 200, reply.text + acmems.log())
  await untilLogged(acmems, /a port is not opened in the firewall/)
})
