// acmems' HMAC over the request body: every spelling that its READMEs ever told people to send, and what is none of them.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { delimiter, dirname, join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { type Acmems, startAcmems } from './acmems.ts'
import { certificatesOf, makeCsr, namesOf } from './host.ts'
import { makeTempFolder } from './peers/child.ts'
import { type PeerName, requirePeer } from './peers/peers.ts'

/**
 * A key that looks like a variable: the READMEs put it between single quotes, where the shell leaves it alone, and so
 * their lines work as they were printed only with a server whose key is that word.
 */
const readmeKey = '$KEY'
const key = 'a long secret; with "signs" = and spaces'
const otherKey = 'another long secret'
const addressOfIpBlock = '127.0.0.1'
const otherAddress = '127.0.0.5'
const config = `[account]
type = local
[mgmt]
default-verification =
[auth "sha256"]
hmac_type = sha256
hmac_key = "${key.replaceAll('"', '\\"')}"
domain = *.hmac.example.org
[auth "sha512, and an address, too"]
ip = ${otherAddress}
hmac_type = sha512
hmac_key = ${otherKey}
domain = *.both.example.org
[auth "sha384"]
hmac_type = sha384
hmac_key = ${otherKey}
domain = *.long.example.org
[auth "as printed"]
hmac_type = sha256
hmac_key = ${readmeKey}
domain = *.printed.example.org
[auth "by address"]
ip = ${addressOfIpBlock}
domain = *.ip.example.org
`

let acmems: Acmems
let body: string
let mac: string
before(async () => {
  acmems = await startAcmems(config)
  body = makeCsr({ names: ['www.hmac.example.org'] })
  mac = hmac('sha256')
})
after(() => acmems.stop())

function hmac(digest: string, secret = key, of = body): string {
  return createHmac(digest, secret).update(of).digest('hex')
}

type HeaderLine = readonly [name: string, value: string]
type Reply = { readonly status: number; readonly text: string; readonly contentType: string | undefined }

/** Headers in their order, repeated where they are, octets beyond ASCII as they are. */
function post(headers: readonly HeaderLine[], csr = body, localAddress = otherAddress): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: '127.0.0.1',
        port: acmems.mgmtPort,
        path: '/sign',
        method: 'POST',
        localAddress,
        agent: false,
        headers: [['Host', 'acmems'], ['Content-Length', String(Buffer.byteLength(csr))], ...headers].flat(),
        timeout: 10_000,
      },
      (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('error', reject)
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text, contentType: response.headers['content-type'] }),
        )
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')))
    outgoing.on('error', reject)
    outgoing.end(csr)
  })
}

function assertIssued({ status, text }: Reply, ...names: string[]): void {
  assert.equal(status, 200, text)
  assert.deepEqual(
    namesOf(certificatesOf(text)[0]),
    names.map((name) => `DNS:${name}`),
  )
}

function assertRefused({ status, text, contentType }: Reply): void {
  assert.equal(status, 403, text)
  assert.match(contentType ?? '', /^text\/plain\b/)
  assert.match(text, /^[\x20-\x7e]{1,300}\n$/, 'one short line')
  assert.ok(!text.includes(mac) && !text.includes(key), 'no refusal says what would have been right')
}

const authentication = (value: string): HeaderLine => ['Authentication', value]

describe('46: spellings that are accepted', () => {
  const spellings: readonly [string, () => HeaderLine][] = [
    ['comma and space', () => authentication(`hmac name=sha256, hash=${mac}`)],
    ['comma without space', () => authentication(`hmac name=sha256,hash=${mac}`)],
    ['space', () => authentication(`hmac name=sha256 hash=${mac}`)],
    ['hash first, comma and space', () => authentication(`hmac hash=${mac}, name=sha256`)],
    ['hash first, space', () => authentication(`hmac hash=${mac} name=sha256`)],
    ["OpenSSL 3's name for it", () => authentication(`hmac name=sha2-256, hash=${mac}`)],
    ["OpenSSL 3's name for it, space", () => authentication(`hmac name=sha2-256 hash=${mac}`)],
    ['hash in upper case', () => authentication(`hmac name=sha256, hash=${mac.toUpperCase()}`)],
    ['name in upper case, where sed is not GNU', () => authentication(`hmac name=SHA256, hash=${mac}`)],
    ['white space around it', () => authentication(`  hmac name=sha256, hash=${mac}  `)],
    ['header name in lower case', () => ['authentication', `hmac name=sha256, hash=${mac}`]],
    ['header name in upper case', () => ['AUTHENTICATION', `hmac name=sha256, hash=${mac}`]],
    ['the first README', () => ['HMAC-SHA256', mac]],
    ['the first README with OpenSSL 3', () => ['HMAC-SHA2-256', mac]],
    ['the first README, hash in upper case', () => ['HMAC-SHA256', mac.toUpperCase()]],
  ]
  for (const [name, header] of spellings) {
    test(name, async () => assertIssued(await post([header()]), 'www.hmac.example.org'))
  }

  test('other digests, where the block names them', async () => {
    const long = makeCsr({ names: ['www.long.example.org'] })
    const longMac = hmac('sha384', otherKey, long)
    for (const name of ['sha384', 'sha2-384'])
      assertIssued(await post([authentication(`hmac name=${name}, hash=${longMac}`)], long), 'www.long.example.org')
    assertIssued(await post([['HMAC-SHA2-384', longMac]], long), 'www.long.example.org')
  })

  test('with an address, both must hold', async () => {
    const both = makeCsr({ names: ['www.both.example.org'] })
    const header = authentication(`hmac name=sha512, hash=${hmac('sha512', otherKey, both)}`)
    assertIssued(await post([header], both), 'www.both.example.org')
    assertRefused(await post([header], both, '127.0.0.6'))
    assertRefused(await post([], both))
  })
})

describe('46: what is refused, and never an error', () => {
  const wrongs: readonly [string, () => readonly HeaderLine[]][] = [
    ['nothing', () => []],
    ['the hash of another body', () => [authentication(`hmac name=sha256, hash=${hmac('sha256', key, `${body}\n`)}`)]],
    ['the hash with another key', () => [authentication(`hmac name=sha256, hash=${hmac('sha256', otherKey)}`)]],
    ["another block's key and digest", () => [authentication(`hmac name=sha384, hash=${hmac('sha384', otherKey)}`)]],
    ['another digest than the block names', () => [authentication(`hmac name=sha512, hash=${hmac('sha512')}`)]],
    ['another digest under the right name', () => [authentication(`hmac name=sha256, hash=${hmac('sha512')}`)]],
    ['the right hash under another name', () => [authentication(`hmac name=sha512, hash=${mac}`)]],
    ['md5', () => [authentication(`hmac name=md5, hash=${hmac('md5')}`)]],
    ['sha1', () => [authentication(`hmac name=sha1, hash=${hmac('sha1')}`)]],
    ['sha224 of OpenSSL', () => [authentication(`hmac name=sha2-224, hash=${hmac('sha224')}`)]],
    ['no such digest', () => [authentication(`hmac name=rot13, hash=${mac}`)]],
    ['a digest that is a property of every object', () => [authentication(`hmac name=constructor, hash=${mac}`)]],
    ['a hash that is not hex', () => [authentication(`hmac name=sha256, hash=${mac.slice(0, -1)}g`)]],
    [
      'a hash in base64',
      () => [authentication(`hmac name=sha256, hash=${Buffer.from(mac, 'hex').toString('base64')}`)],
    ],
    ['a hash of odd length', () => [authentication(`hmac name=sha256, hash=${mac}0`)]],
    ['a hash with more behind it', () => [authentication(`hmac name=sha256, hash=${mac}00`)]],
    ['half a hash', () => [authentication(`hmac name=sha256, hash=${mac.slice(0, 32)}`)]],
    ['an empty hash', () => [authentication('hmac name=sha256, hash=')]],
    ['no hash', () => [authentication('hmac name=sha256')]],
    ['no name', () => [authentication(`hmac hash=${mac}`)]],
    ['the hash twice', () => [authentication(`hmac name=sha256, hash=${mac}, hash=${mac}`)]],
    ['the name twice', () => [authentication(`hmac name=sha256, name=sha256, hash=${mac}`)]],
    ['two different hashes', () => [authentication(`hmac name=sha256, hash=${'0'.repeat(64)}, hash=${mac}`)]],
    ['two hashes with commas', () => [authentication(`hmac name=sha256, hash=${mac}, hmac name=sha256, hash=${mac}`)]],
    ['something more', () => [authentication(`hmac name=sha256, hash=${mac}, key=x`)]],
    [
      'two headers',
      () => [authentication(`hmac name=sha256, hash=${mac}`), authentication(`hmac name=sha256, hash=${mac}`)],
    ],
    [
      'a wrong header before the right one',
      () => [authentication('hmac'), authentication(`hmac name=sha256, hash=${mac}`)],
    ],
    [
      'a wrong header after the right one',
      () => [authentication(`hmac name=sha256, hash=${mac}`), authentication('Basic eA==')],
    ],
    ['two spellings', () => [authentication(`hmac name=sha256, hash=${mac}`), ['HMAC-SHA256', mac]]],
    ['an empty header', () => [authentication('')]],
    ['hmac', () => [authentication('hmac')]],
    ['hmac and a space', () => [authentication('hmac ')]],
    ['hmac foo', () => [authentication('hmac foo')]],
    ['hmac =', () => [authentication('hmac =,=')]],
    ['hmac ,', () => [authentication('hmac ,,,,')]],
    ['Basic xyz', () => [authentication('Basic xyz')]],
    ['Bearer', () => [authentication(`Bearer ${mac}`)]],
    ['in the standard header', () => [['Authorization', `hmac name=sha256, hash=${mac}`]]],
    ['letters beyond ASCII', () => [authentication('hmac n\u00e4me=sha256, hash=\u00fc\u00ff')]],
    ['UTF-8', () => [authentication(Buffer.from('hmac name=sha256, hash=ｆｆ').toString('latin1'))]],
    ['the first README without a hash', () => [['HMAC-SHA256', '']]],
    ['the first README with a file name left in', () => [['HMAC-SHA256', `(domain.csr)= ${mac}`]]],
    ['the first README under md5', () => [['HMAC-MD5', hmac('md5')]]],
    ['a header of 10 KB', () => [authentication(`hmac name=sha256, hash=${'ab'.repeat(5000)}`)]],
    ['commas without end', () => [authentication(`hmac ${','.repeat(10_000)}`)]],
    ['white space without end', () => [authentication(`hmac${' '.repeat(10_000)}x`)]],
    ['90 headers', () => Array.from({ length: 90 }, () => authentication('hmac name=sha256, hash=00'))],
  ]
  for (const [name, headers] of wrongs) {
    test(name, async () => {
      assertRefused(await post(headers()))
      // The same nonsense from a host that another block knows by its address changes nothing for that host.
      const byAddress = makeCsr({ names: ['www.ip.example.org'] })
      assertIssued(await post(headers(), byAddress, addressOfIpBlock), 'www.ip.example.org')
    })
  }

  test('the right header does not widen what the block covers', async () => {
    for (const names of [
      ['www.ip.example.org'],
      ['www.hmac.example.org', 'www.long.example.org'],
      ['www.example.com'],
    ]) {
      const csr = makeCsr({ names })
      assertRefused(await post([authentication(`hmac name=sha256, hash=${hmac('sha256', key, csr)}`)], csr))
    }
  })

  test('a body that is altered on its way', async () => {
    const altered = body.replace('\n', '\r\n')
    assertRefused(await post([authentication(`hmac name=sha256, hash=${mac}`)], altered))
  })

  test('nothing of it is an error in the log, and no secret is there', () => {
    const wrong = acmems.logLines().filter(({ level, status }) => level === 'error' || Number(status) >= 500)
    assert.deepEqual(wrong, [])
    assert.doesNotMatch(acmems.log(), /"stack"/)
    assert.ok(!acmems.log().includes(mac) && !acmems.log().includes(otherKey))
  })
})

// the lines themselves ----------------------------------------------------------------------------

const wget = 'wget --no-config -q -O - --tries=1'
const curl = 'curl -q -sS --fail'
/** A line of a README, with our server's address in place of http://acmese:1313, and `-O -` where wget would write a file. */
type Line = { readonly name: string; readonly needs: PeerName; readonly zone: string; readonly text: string }

const firstSed = "sed -e 's/(.*)=/:/'"
const laterSed = String.raw`sed -e 's/HMAC-\(.*\)(.*)= *\(.*\)/Authentication: hmac name=\L\1\E, hash=\2/'`
const lines: readonly Line[] = [
  {
    // Printed without the quotes around the command, which no shell takes as one word.
    name: "the first README's, with quotes around the header",
    needs: 'wget',
    zone: 'printed',
    text: `${wget} --post-file=domain.csr --header="\`openssl dgst -sha256 -hmac '$KEY' domain.csr | ${firstSed}\`" "$URL"`,
  },
  {
    name: "the first README's, with the key that is meant",
    needs: 'wget',
    zone: 'hmac',
    text: `${wget} --post-file=domain.csr --header="$(openssl dgst -sha256 -hmac "$KEY" domain.csr | ${firstSed})" "$URL"`,
  },
  {
    name: "the later README's, as printed",
    needs: 'wget',
    zone: 'printed',
    text: `${wget} --post-file=domain.csr --header="\`openssl dgst -sha256 -hmac '$KEY' domain.csr | ${laterSed}\`" "$URL"`,
  },
  {
    name: "the later README's, with the key that is meant",
    needs: 'wget',
    zone: 'hmac',
    text: `${wget} --post-file=domain.csr --header="$(openssl dgst -sha256 -hmac "$KEY" domain.csr | ${laterSed})" "$URL"`,
  },
  {
    name: 'the same with curl',
    needs: 'curl',
    zone: 'hmac',
    text: `${curl} --data-binary @domain.csr -H "$(openssl dgst -sha256 -hmac "$KEY" domain.csr | ${laterSed})" "$URL"`,
  },
  {
    name: 'a script that writes the name itself',
    needs: 'wget',
    zone: 'hmac',
    text: `hash=$(openssl dgst -sha256 -hmac "$KEY" domain.csr | sed 's/.*= *//')
${wget} --post-file=domain.csr --header="Authentication: hmac name=sha256, hash=$hash" "$URL"`,
  },
]

type Run = { readonly failed: boolean; readonly stdout: string; readonly stderr: string }

/** undefined: something that it needs could not be had, and the test is skipped. */
async function runLine(t: TestContext, shell: PeerName, line: Line): Promise<Run | undefined> {
  const peers = [shell, line.needs, 'openssl' as const].map((name) => requirePeer(t, name))
  const [first] = peers
  if (first === undefined || peers.includes(undefined)) return undefined
  using folder = makeTempFolder('lines')
  const cwd = folder.path
  writeFileSync(join(cwd, 'domain.csr'), makeCsr({ names: [`www.${line.zone}.example.org`] }))
  const path = [...peers.map((peer) => dirname(peer?.path ?? '')), process.env.PATH ?? ''].join(delimiter)
  const env = { ...process.env, PATH: path, KEY: key, URL: acmems.signUrl }
  return await new Promise<Run>((resolve) => {
    execFile(first.path, ['-c', line.text], { cwd, env, encoding: 'utf8', timeout: 20_000 }, (error, stdout, stderr) =>
      resolve({ failed: error !== null, stdout, stderr }),
    )
  })
}

for (const shell of ['dash', 'bash'] as const) {
  describe(`lines of the READMEs in ${shell}`, () => {
    for (const line of lines) {
      test(line.name, async (t) => {
        const result = await runLine(t, shell, line)
        if (result === undefined) return
        assert.ok(!result.failed, result.stderr + acmems.log().split('\n').slice(-3).join('\n'))
        assert.deepEqual(namesOf(certificatesOf(result.stdout)[0]), [`DNS:www.${line.zone}.example.org`])
      })
    }

    test('the same lines with a wrong key get nothing', async (t) => {
      for (const line of lines) {
        const text = line.text.replaceAll('$KEY', 'wrong')
        const result = await runLine(t, shell, { ...line, text })
        if (result === undefined) return
        assert.ok(result.failed, 'the tool says that it was refused')
        assert.equal(result.stdout, '')
      }
    })
  })
}
