import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findFlaws, formatConfinement, parseConfinement, setprivArguments } from './confinement.ts'
import { type PlanParts, planParts } from './plan.ts'
import { parseStanding } from './standing.ts'

const users = {
  server: { uid: 101, gid: 201, user: 'acmems', home: '/var/lib/acmems' },
  responder: { uid: 102, gid: 202, user: 'acmems-responder', home: '/' },
  accountd: { uid: 103, gid: 203, user: 'acmems-accountd', home: '/' },
}

function given(more: Partial<PlanParts> = {}, config: object = {}): PlanParts {
  return {
    config: {
      process: { 'run-directory': '/run/acmems', 'accountd-config': '/etc/acmems/accountd.conf' },
      mgmt: { listener: ['0.0.0.0:443', '127.0.0.1:1313', 'unix:/run/x'] },
      mgmtTls: undefined,
      dnsApi: { listener: [] },
      certificates: [],
      verifications: new Map([
        ['http', { plugin: { name: 'http01' }, options: { listener: ['0.0.0.0:80', '0.0.0.0:1380', 'fd:3'] } }],
        ['dns', { plugin: { name: 'dns01-server' }, options: { listener: ['[::]:53'] } }],
        ['api', { plugin: { name: 'cloudflare' }, options: { listener: ['0.0.0.0:81'] } }],
      ]),
      ...config,
    } as unknown as PlanParts['config'],
    files: ['/etc/acmems/acmems.ini'],
    flags: { set: ['logging.level=debug'], lenient: true },
    users,
    environment: {
      LANG: 'C',
      SECRET: 'x',
      ACMEMS_MGMT_LISTENER: 'y',
      TOKEN: 'z',
      NOTIFY_SOCKET: '/n',
      SSH_AUTH_SOCK: '/s',
    },
    namedVariables: ['TOKEN'],
    programs: { acmems: '/lib/acmems.js', installer: '/lib/acmems-install.js' },
    firstUnprivilegedPort: 1024,
    stateFolder: '/var/lib/acmems',
    hasLegacyIptables: false,
    ...more,
  }
}

const certificate = (name: string, values: object = {}) => ({ name, values })

test('who asks may enter the folder of who answers, and nobody else', () => {
  const { folders } = planParts(given({}, { certificates: [certificate('web')] }))
  assert.deepEqual(folders, [
    { path: '/run/acmems/accountd', uid: 103, gid: 201 },
    { path: '/run/acmems/install', uid: 0, gid: 201 },
    { path: '/run/acmems/answers', uid: 101, gid: 202 },
  ])
})

test('each part has the sockets that only root may open, and the variables that are for it', () => {
  const parts = new Map(planParts(given()).parts.map((part) => [part.name, part]))
  assert.deepEqual([...parts.keys()], ['accountd', 'server', 'responder'])
  assert.deepEqual(parts.get('server')?.sockets, [{ protocol: 'tcp', address: '0.0.0.0:443' }])
  assert.deepEqual(parts.get('responder')?.sockets, [
    { protocol: 'tcp', address: '0.0.0.0:80' },
    { protocol: 'tcp', address: '[::]:53' },
    { protocol: 'udp', address: '[::]:53' },
  ])
  const variables = (name: 'server' | 'responder' | 'accountd') => Object.keys(parts.get(name)?.env ?? {}).sort()
  const usual = ['HOME', 'LANG', 'LOGNAME', 'PATH', 'USER']
  assert.deepEqual(variables('responder'), usual)
  assert.deepEqual(variables('accountd'), [...usual, 'SSH_AUTH_SOCK'].sort())
  const ofServer = ['ACMEMS_MGMT_LISTENER', 'NOTIFY_SOCKET', 'SSH_AUTH_SOCK', 'STATE_DIRECTORY', 'TOKEN']
  assert.deepEqual(variables('server'), [...usual, ...ofServer].sort())
  assert.deepEqual(parts.get('server')?.args, [
    ...['serve', '--set', 'logging.level=debug', '--lenient', '--set', 'process.installer=/run/acmems/install/S'],
    ...['--set', 'process.responder=/run/acmems/answers/S'],
    '/etc/acmems/acmems.ini',
  ])
})

test('without a responder the server has its sockets; an installer only where there is something to install', () => {
  const { server, accountd } = users
  const { parts } = planParts(given({ users: { server, accountd } }))
  assert.deepEqual(
    parts.map(({ name }) => name),
    ['accountd', 'server'],
  )
  assert.equal(parts.at(-1)?.sockets.length, 4)
  const own = {
    certificates: [certificate('own'), certificate('box', { recipient: '/x' })],
    mgmtTls: { managed: 'own' },
  }
  assert.ok(!planParts(given({}, own)).parts.some(({ name }) => name === 'installer'))
})

test('only the parts of root keep capabilities, and only some', () => {
  const config = given({}, { certificates: [certificate('web')] }).config
  const withAll = { ...config, process: { ...config.process, firewall: '/run/elsewhere/S' } }
  const { parts } = planParts(given({}, withAll))
  assert.deepEqual(
    parts.map(({ name, confinement }) => [name, confinement.uid, confinement.capabilities.join(' ')]),
    [
      ['accountd', 103, ''],
      ['installer', 0, 'chown dac_override fowner kill'],
      ['firewall', 0, 'net_admin'],
      ['server', 101, ''],
      ['responder', 102, ''],
    ],
  )
})

const status = `Name:\tnode
Uid:\t101\t101\t101\t101
Gid:\t201\t201\t201\t201
Groups:\t
NoNewPrivs:\t1
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
`

test('what is more than it was to be is found', () => {
  const server = { uid: 101, gid: 201, capabilities: [] }
  const flaws = (text: string, confinement = server) => findFlaws(parseStanding(text), confinement)
  assert.deepEqual(flaws(status), [])
  const changed = (name: string, value: string) => status.replace(new RegExp(`^${name}:.*$`, 'm'), `${name}:\t${value}`)
  assert.match(flaws(changed('Uid', '101\t101\t0\t101')).join(), /its user is 101 101 0 101/)
  assert.match(flaws(changed('Gid', '0\t0\t0\t0')).join(), /its group is 0 0 0 0/)
  assert.match(flaws(changed('Groups', '4 201 ')).join(), /groups 4, too/)
  assert.match(flaws(changed('NoNewPrivs', '0')).join(), /no_new_privs/)
  assert.match(flaws(changed('CapBnd', '0000000000000400')).join(), /bounding capabilities: net_bind_service/)
  assert.match(
    flaws(changed('CapEff', '000001ffffffffff')).join(),
    /effective capabilities: chown .* checkpoint_restore/,
  )
  assert.match(flaws(changed('CapBnd', '0000020000000000')).join(), /cap_41/)
  assert.throws(() => parseStanding('Uid:\t0'), /has no Gid/)
})

test('a confinement survives the command line, and setpriv is told all of it', () => {
  const installer = { uid: 0, gid: 0, capabilities: ['chown', 'kill'] as const }
  assert.deepEqual(parseConfinement(formatConfinement(installer)), installer)
  assert.throws(() => parseConfinement('root:root:'), /no UID:GID:CAPABILITIES/)
  const args = setprivArguments(installer)
  for (const wanted of ['--reuid=0', '--clear-groups', '--no-new-privs', '--bounding-set=-all,+chown,+kill'])
    assert.ok(args.includes(wanted), wanted)
})
