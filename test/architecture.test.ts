// The direction of imports, read from the import lines: what stands further left never imports what stands further right.
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'

const source = resolve(import.meta.dirname, '../src')

/** For each part, the parts that it may import beside itself. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  acme: [],
  x509: ['acme'],
  jws: [],
  'plugin-option': [],
  'plugin-context': [],
  'plugin-event': [],
  'plugin-box': ['acme', 'plugin-context'],
  signature: ['x509/spki'],
  'account-key': ['plugin-context'],
  channel: ['acme', 'error-code', 'plugin-context'],
  'remote-key': ['acme', 'channel'],
  parts: [
    'channel',
    'config',
    'error-code',
    'http/inet-sockets',
    'http/listen-address',
    'plugin-context',
    'search-path',
    'validation-protocols',
  ],
  accountd: [
    'channel',
    'acme',
    'lacme',
    'lock-file',
    'plugin-api',
    'plugins/keys/file',
    'policy/name-pattern',
    'remote-key',
  ],
  firewall: [
    'acme',
    'channel',
    'config/ini',
    'error-code',
    'plugin-context',
    'plugins/option-values',
    'search-path',
    'turns',
  ],
  'plugin-api': [
    'account-key',
    'signature',
    'plugin-option',
    'plugin-context',
    'plugin-event',
    'plugin-box',
    'acme',
    'x509',
  ],
  'error-code': [],
  'process-id': ['error-code'],
  'durable-file': ['process-id'],
  'foreign-file': [],
  'lock-file': ['error-code'],
  'folder-lock': ['durable-file', 'error-code', 'lock-file'],
  'trusted-file': ['channel/permissions', 'error-code'],
  turns: [],
  'hook-run': ['acme', 'plugin-api'],
  version: [],
  'search-path': [],
  'validation-protocols': [],
  'acme-client': ['acme', 'jws', 'plugin-api'],
  dns: ['acme'],
  'self-check': ['acme', 'dns', 'x509', 'plugin-api'],
  plugins: [
    'error-code',
    'signature',
    'self-check',
    'dns',
    'acme',
    'x509',
    'plugin-api',
    'acme-client',
    'durable-file',
    'hook-run',
    'remote-key',
    'folder-lock',
    'search-path',
    'turns',
  ],
  policy: ['acme', 'x509', 'plugin-api'],
  issuance: ['acme', 'x509', 'plugin-api'],
  state: ['error-code', 'acme', 'x509', 'plugin-api', 'issuance', 'durable-file'],
  'pick-up': ['acme', 'x509', 'signature', 'plugin-api', 'policy', 'http', 'plugins/address-range', 'state/boxes'],
  http: ['channel/unix-socket', 'error-code', 'x509/spki', 'signature', 'plugin-api', 'plugins/address-range'],
  'signature-memory': ['signature', 'http', 'state'],
  sign: ['signature', 'acme', 'x509', 'plugin-api', 'policy', 'issuance', 'http', 'plugins/address-range'],
  'dns-api': [
    'acme',
    'plugin-api',
    'policy',
    'http',
    'plugins/address-range',
    'state/answer-records',
    'state/dns-accounts',
  ],
  responder: ['acme', 'dns', 'x509', 'plugin-api', 'http'],
  probe: ['error-code', 'acme', 'x509'],
  deployment: ['plugin-api', 'probe', 'state/deployments', 'x509'],
  'deployment-work': [
    'config',
    'deployment',
    'installation',
    'issuance',
    'managed',
    'plugin-api',
    'probe',
    'runtime',
    'state',
    'x509',
  ],
  config: [
    'error-code',
    'acme',
    'channel/socket-path',
    'x509',
    'plugin-api',
    'policy',
    'probe/probe-target',
    'plugins/address-range',
    'plugins/option-values',
    'plugins/challenges/dns01-options',
  ],
  managed: [
    'foreign-file',
    'error-code',
    'acme',
    'x509',
    'plugin-api',
    'issuance',
    'config',
    'durable-file',
    'hook-run',
    'process-id',
    'state/boxes',
    'folder-lock',
    'search-path',
    'turns',
  ],
  installer: [
    'error-code',
    'acme',
    'x509',
    'plugin-api',
    'channel',
    'config',
    'durable-file',
    'trusted-file',
    'turns',
    'managed/holding',
    'managed/hook-runs',
    'managed/memory',
    'managed/output-files',
    'managed/section-files',
    'managed/wish',
  ],
  'installer-link': [
    'acme',
    'x509',
    'plugin-api',
    'channel',
    'config',
    'managed/file-holding',
    'managed/remote-holding',
  ],
  'managed-certificates': ['acme', 'installer-link', 'managed', 'config', 'plugin-api', 'state/boxes', 'x509'],
  lacme: ['error-code', 'acme', 'x509', 'plugin-api', 'config/certificate-options'],
  log: ['plugin-api'],
  'order-holder': ['state'],
  'responder-addresses': ['acme', 'plugin-api'],
  responders: ['acme', 'plugin-api', 'http', 'listener-set', 'responder', 'responder-addresses'],
  'stored-answers': ['installation', 'responder'],
  answers: ['acme', 'channel', 'plugin-api', 'responder', 'responder-addresses', 'responders'],
  'audit-log': ['plugin-api', 'state/audit-events'],
  housekeeping: ['plugin-api', 'state'],
  scrubber: ['plugin-api', 'state/scrubbing'],
  installation: [
    'issuance',
    'plugin-api',
    'http',
    'config',
    'log',
    'order-holder',
    'clock',
    'runtime',
    'state',
    'version',
  ],
  clock: ['plugin-api'],
  'listener-set': ['error-code', 'plugin-api', 'http'],
  'mgmt-listeners': ['http', 'config', 'listener-set'],
  'systemd-notify': ['plugin-api'],
  'validation-ports': ['channel', 'plugin-api'],
  runtime: [
    'validation-ports',
    'http',
    'responder-addresses',
    'acme',
    'x509',
    'plugin-api',
    'plugins',
    'policy',
    'issuance',
    'sign',
    'dns-api',
    'config',
  ],
  'certificate-work': ['installation', 'issuance', 'managed', 'plugin-api', 'runtime'],
  'registered-boxes': ['acme', 'config', 'plugin-api', 'runtime', 'state/box-registrations'],
  daemon: [
    'acme/challenge',
    'answers',
    'stored-answers',
    'installer-link',
    'registered-boxes',
    'certificate-work',
    'deployment-work',
    'managed',
    'managed-certificates',
    'audit-log',
    'process-id',
    'plugin-api',
    'issuance',
    'sign',
    'pick-up',
    'dns-api',
    'http',
    'responders',
    'responder-addresses',
    'config',
    'listener-set',
    'mgmt-listeners',
    'order-holder',
    'housekeeping',
    'installation',
    'runtime',
    'scrubber',
    'signature-memory',
  ],
  cli: [
    'foreign-file',
    'trusted-file',
    'validation-protocols',
    'parts',
    'search-path',
    'answers',
    'stored-answers',
    'installer',
    'installer-link',
    'error-code',
    'mgmt-listeners',
    'folder-lock',
    'accountd',
    'channel',
    'firewall',
    'audit-log',
    'certificate-work',
    'deployment-work',
    'probe',
    'managed',
    'managed-certificates',
    'process-id',
    'responders',
    'acme',
    'acme-client',
    'dns',
    'self-check',
    'x509',
    'plugin-api',
    'plugins',
    'policy/name-pattern',
    'issuance',
    'state',
    'http',
    'sign/enroll-door',
    'config',
    'lacme',
    'durable-file',
    'clock',
    'daemon',
    'installation',
    'runtime',
    'housekeeping',
    'order-holder',
    'log',
    'systemd-notify',
    'version',
  ],
  program: ['cli', 'version'],
  main: ['cli', 'parts/proof-of-drop', 'program'],
  'install-main': [
    'channel/permissions',
    'cli/log-reader',
    'cli/stop-signal',
    'clock',
    'config',
    'installer',
    'log',
    'parts/proof-of-drop',
    'systemd-notify',
    'version',
  ],
}

type Import = { readonly file: string; readonly part: string; readonly target: string }

function partOf(path: string): string {
  return path.split('/')[0]?.replace(/\.ts$/, '') ?? ''
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(source, file), 'utf8')
  const specifiers = [
    ...text.matchAll(/(?:^|\n)\s*(?:import|export)[^'"\n]*(?:\{[^}]*\}[^'"\n]*)?['"](\.[^'"]+)['"]/g),
    ...text.matchAll(/import\(['"](\.[^'"]+)['"]\)/g),
  ]
  return specifiers.map(([, specifier = '']) => ({
    file,
    part: partOf(file),
    target: relative(source, resolve(source, dirname(file), specifier)).replace(/\.ts$/, ''),
  }))
}

const files = globSync('**/*.ts', { cwd: source }).filter((file) => !file.endsWith('.test.ts'))

test('every part of src has its place in the table', () => {
  assert.deepEqual(
    [...new Set(files.map(partOf))].filter((part) => allowed[part] === undefined),
    [],
  )
})

test('no import goes against the direction', () => {
  const wrong = files.flatMap(importsOf).filter(({ part, target }) => {
    const targetPart = partOf(target)
    if (targetPart === part || target.startsWith('..')) return false
    return !allowed[part]?.some((permitted) => permitted === targetPart || permitted === target)
  })
  assert.deepEqual(
    wrong.map(({ file, target }) => `${file} imports ${target}`),
    [],
  )
})

test('nothing is permitted that is not used', () => {
  const imports = files.flatMap(importsOf)
  const unused = Object.entries(allowed).flatMap(([part, permitted]) =>
    permitted
      .filter(
        (one, index) =>
          permitted.indexOf(one) !== index ||
          !imports.some(({ part: importing, target }) => importing === part && [target, partOf(target)].includes(one)),
      )
      .map((one) => `${part} imports nothing of ${one}, or it is there twice`),
  )
  assert.deepEqual(unused, [])
})

test('the table itself has no cycles', () => {
  const visiting = new Set<string>()
  const visit = (part: string): void => {
    assert.ok(!visiting.has(part), `cycle through ${[...visiting, part].join(' -> ')}`)
    visiting.add(part)
    for (const next of allowed[part] ?? []) if (!next.includes('/')) visit(next)
    visiting.delete(part)
  }
  for (const part of Object.keys(allowed)) visit(part)
})

/** What is impure has one home, so that everything else can be tested without the world. */
const homes: readonly { readonly what: RegExp; readonly home: RegExp; readonly name: string }[] = [
  { what: /process\.env\b/, home: /^config\/environment\.ts$/, name: 'the environment' },
  {
    what: /\bDate\.now\(|\bsetTimeout\(|\bsetInterval\(|\bsetImmediate\(/,
    home: /^(clock|channel\/(write-batch|answerer)|certificate-work|daemon|systemd-notify|http\/listener|responder\/dns-listener|http\/early-answer|sign\/sign-door|cli\/.*)\.ts$/,
    name: 'time',
  },
  {
    what: /\bMath\.random\(|\brandomBytes\((?!length: number\))|\brandomUUID\(/,
    home: /^(installation|install-main|cli\/responder)\.ts$/,
    name: 'randomness',
  },
  { what: /(?<![.\w])fetch\(|from 'undici'/, home: /^http\/http-client\.ts$/, name: 'the network' },
  {
    what: /IncomingMessage|ServerResponse/,
    home: /^(http|sign|pick-up|dns-api|responder|acme-server|admin)\//,
    name: 'HTTP',
  },
  { what: /process\.exit\(/, home: /^cli\//, name: 'the end of the process' },
]

for (const { what, home, name } of homes) {
  test(`${name} occurs only where it belongs`, () => {
    const offenders = files
      .filter((file) => !home.test(file))
      .filter((file) =>
        readFileSync(join(source, file), 'utf8')
          .split('\n')
          .some(
            (line) =>
              !/^\s*(\*|\/\/|\/\*)/.test(line) && what.test(line.replace(/(context|parts|setup)\.randomBytes\(/g, '')),
          ),
      )
    assert.deepEqual(offenders, [])
  })
}

test('files stay small enough to hold in the head', () => {
  const long = files
    .map((file) => ({ file, lines: readFileSync(join(source, file), 'utf8').split('\n').length }))
    .filter(({ lines }) => lines > 320)
  assert.deepEqual(long, [])
})
