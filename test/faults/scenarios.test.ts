// The scenarios' names, and the command that people use them with.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { test } from 'node:test'
import { makeTempFolder } from '../peers/child.ts'
import { startPebble } from '../peers/pebble.ts'
import { requirePeer } from '../peers/peers.ts'
import { endpointKinds, type SeenRequest } from './rule.ts'
import { createRuleBook, drawNumber } from './rule-book.ts'
import { parseScenario, ScenarioError, scenarios } from './scenarios.ts'

const script = resolve(import.meta.dirname, '../../scripts/acmems-faults')

const requestAt = (endpoint: SeenRequest['endpoint'], endpointCount: number): SeenRequest => ({
  ...{ index: endpointCount, endpoint, endpointCount, method: 'POST', path: '/', origin: 'https://ca.example' },
  ...{ payload: undefined, random: () => drawNumber(endpoint, endpointCount) },
})

test('every scenario has a name of its own, works without a value, and acts on something', () => {
  assert.equal(new Set(scenarios.map(({ name }) => name)).size, scenarios.length)
  for (const { name, value, meaning } of scenarios) {
    assert.match(name, /^[a-z]+(-[a-z]+)*$/)
    assert.ok(meaning.length > 0 && meaning.length <= 70, name)
    const rules = parseScenario(name)
    assert.ok(rules.length > 0, name)
    if (value !== undefined) assert.equal(parseScenario(`${name}=${value.preset}`).length, rules.length)
  }
})

test('a share is met, is the same for the same seed, and does not depend on other endpoints', () => {
  const decide = (seed: number, share: number, mixed: boolean) => {
    const book = createRuleBook(parseScenario(`server-errors=${share}`), seed)
    return Array.from({ length: 1000 }, (_, i) => {
      if (mixed) for (const other of ['directory', 'newNonce'] as const) book.decide(requestAt(other, i + 1))
      return book.decide(requestAt('order', i + 1)).ending?.do === 'status'
    })
  }
  for (const share of [0, 0.1, 0.3, 0.6, 1]) {
    const count = decide(1, share, false).filter(Boolean).length
    assert.ok(Math.abs(count - share * 1000) < 50, `${count} of 1000 at ${share}`)
  }
  assert.deepEqual(decide(1, 0.3, false), decide(1, 0.3, true))
  assert.notDeepEqual(decide(1, 0.3, false), decide(2, 0.3, false))
})

test('changes are all made, and the first ending wins', () => {
  const rules = ['slow=5', 'stale-nonces=1', 'unreachable', 'html-answers=1'].flatMap(parseScenario)
  const decision = createRuleBook(rules, 1).decide(requestAt('order', 1))
  assert.deepEqual(
    [decision.changes.map((change) => change.do), decision.ending?.do],
    [['delay', 'staleNonce'], 'cutBefore'],
  )
})

test('a scenario on the command line: value, limits, a date with its comma', () => {
  const date = 'Sun, 06 Nov 1994 08:49:37 GMT'
  assert.deepEqual(parseScenario(`service-unavailable=${date},times=2,endpoint=order+finalize,from=3`), [
    {
      endpoint: ['order', 'finalize'],
      times: 2,
      nth: { from: 3 },
      action: {
        ...{ do: 'status', status: 503, problemType: 'serverInternal', detail: 'try later', retryAfter: date },
      },
    },
  ])
  assert.deepEqual(
    parseScenario('lost-replies=finalize+newOrder').map(({ endpoint }) => endpoint),
    ['finalize', 'newOrder'],
  )
  for (const [text, words] of [
    ['server-erors', /did you mean "server-errors"/],
    ['quite-another-thing', /^there is no scenario "quite-another-thing" \(--list/],
    ['server-errors=2', /"2" is no number from 0 to 1/],
    ['server-errors=', /"" is no number/],
    ['unreachable=1', /takes no value/],
    ['slow=1,endpoint=finalise', /did you mean "finalize"/],
    ['slow=1,times=0', /"0" is no number of at least 1/],
    ['lost-replies=all', new RegExp(`there are ${endpointKinds.join(', ')}`)],
  ] as const) {
    assert.throws(
      () => parseScenario(text),
      (error) => error instanceof ScenarioError && words.test(error.message),
      text,
    )
  }
})

type Run = { readonly code: number | null; readonly out: string; readonly err: string }

/** @param onOutput gets what was printed so far, and Ctrl-C */
function run(
  command: string,
  args: readonly string[],
  onOutput?: (out: string, interrupt: () => void) => void,
): Promise<Run> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString()
    onOutput?.(out, () => child.kill('SIGINT'))
  })
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk.toString()
  })
  return new Promise((done) => child.once('close', (code) => done({ code, out, err })))
}

test('the command explains itself, and says what it does not understand', async () => {
  const [help, list, unknown, noUpstream, noFlag] = await Promise.all(
    [['--help'], ['--list'], ['--scenario', 'sloww'], [], ['--sed', '1']].map((args) => run('sh', [script, ...args])),
  )
  assert.match(help?.out ?? '', /Examples:/)
  for (const { name, meaning } of scenarios) assert.ok(list?.out.includes(name) && list.out.includes(meaning), name)
  assert.deepEqual([help?.code, list?.code], [0, 0])
  assert.deepEqual([unknown?.code, noUpstream?.code, noFlag?.code], [2, 2, 2])
  assert.match(unknown?.err ?? '', /did you mean "slow"/)
  assert.match(noUpstream?.err ?? '', /--upstream is missing/)
})

test('the command stands before a CA until Ctrl-C, and sums up', async (t) => {
  if (!requirePeer(t, 'pebble') || !requirePeer(t, 'pebble-challtestsrv')) return
  if (!requirePeer(t, 'openssl') || !requirePeer(t, 'curl')) return
  await using pebble = await startPebble()
  using folder = makeTempFolder('faults-command')
  const upstream = ['--upstream', pebble.directoryUrl, '--upstream-ca', pebble.caFile]
  const listen = ['--listen', '127.0.0.1:0', '--dir', folder.path]
  const limits = ['--seed', '7', '--scenario', 'html-answers=1,endpoint=directory,times=1']
  let asked: Promise<Run> | undefined
  let isInterrupted = false
  const { code, out } = await run('sh', [script, ...upstream, ...listen, ...limits], (soFar, interrupt) => {
    const [, url, caFile] = /^directory +(\S+)\ntrust +(\S+)\n/m.exec(soFar) ?? []
    if (url === undefined || caFile === undefined) return
    asked ??= run('curl', ['-sS', '--noproxy', '*', '--cacert', resolve(caFile), url, url])
    // Once: a second Ctrl-C does not wait for the summary.
    if (isInterrupted || !soFar.includes('#1 ')) return
    isInterrupted = true
    interrupt()
  })
  assert.match((await asked)?.out ?? '', /<html>.*newOrder/s)
  assert.equal(code, 0)
  assert.match(out, /#0 directory GET \/dir html: 200\n.*#1 directory GET \/dir passed: 200\n/)
  assert.match(out, /2 requests, 1 of them reached the CA\n +1 directory +html\n +1 directory +passed\n/)
})
