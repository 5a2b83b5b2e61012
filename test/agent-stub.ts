// A server for agents that says whatever a test wants, lies included; and looks at signatures by node:crypto alone.
import {
  createHash,
  createHmac,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  verify,
  X509Certificate,
} from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { buildCertificate } from '../src/x509/certificate-builder.ts'
import { parseCsrPem } from '../src/x509/csr.ts'
import { formatPem } from '../src/x509/pem.ts'
import { makeTempFolder } from './peers/child.ts'
import { makeTlsIdentity } from './peers/tls-identity.ts'

export type Asked = {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}
export type Answer = (asked: Asked, response: ServerResponse) => void

export interface AgentStub extends AsyncDisposable {
  readonly url: string
  readonly caFile: string
  /** Of its TLS key, as curl wants it. */
  readonly pin: string
  readonly asked: Asked[]
  answer: Answer
}

export async function startAgentStub(answer: Answer): Promise<AgentStub> {
  await using cleanup = new AsyncDisposableStack()
  const folder = cleanup.use(makeTempFolder('agent-stub')).path
  const tls = await makeTlsIdentity(folder)
  const [cert, key] = [readFileSync(tls.certificateFile), readFileSync(tls.keyFile)]
  const asked: Asked[] = []
  const server = createServer({ cert, key }, (request, response) => {
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body }
      asked.push(one)
      try {
        stub.answer(one, response)
      } catch (error) {
        response.writeHead(500)
        response.end(String(error))
      }
    })
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  cleanup.defer(async () => {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
  const owned = cleanup.move()
  const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' })
  const stub: AgentStub = {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    caFile: tls.caFile,
    pin: `sha256//${createHash('sha256').update(spki).digest('base64')}`,
    asked,
    answer,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
  return stub
}

const dayMs = 86_400_000

export type LeafWish = {
  readonly names: readonly string[]
  readonly publicKey: KeyObject
  readonly fromDays?: number
  readonly toDays?: number
}

export interface TestAuthority {
  readonly rootPem: string
  writeRoot(folder: string, name?: string): string
  /** Leaf, then intermediate. */
  chain(wish: LeafWish): string
  chainFor(csrPem: string, wish?: Partial<LeafWish>): string
}

/** Root, intermediate and what they sign. */
export function makeTestAuthority(): TestAuthority {
  const [rootKeys, keys] = [makeKeys(), makeKeys()]
  const common = { notBeforeMs: Date.now() - 400 * dayMs, notAfterMs: Date.now() + 400 * dayMs }
  const authority = (
    commonName: string,
    publicKey: KeyObject,
    issuer: { key: KeyObject; certificate?: X509Certificate },
  ) => buildCertificate({ kind: 'authority', commonName, publicKey, issuer, serial: randomBytes(16), ...common })
  const rootDer = authority('test root', rootKeys.publicKey, { key: rootKeys.privateKey })
  const root = new X509Certificate(rootDer)
  const der = authority('test intermediate', keys.publicKey, { key: rootKeys.privateKey, certificate: root })
  const issuer = { key: keys.privateKey, certificate: new X509Certificate(der) }
  const rootPem = formatPem('CERTIFICATE', rootDer)
  const chain = ({ names, publicKey, fromDays = -1, toDays = 89 }: LeafWish) => {
    const leaf = buildCertificate({
      kind: 'leaf',
      identifiers: names.map((value) => ({ type: 'dns', value })),
      publicKey,
      issuer,
      notBeforeMs: Date.now() + fromDays * dayMs,
      notAfterMs: Date.now() + toDays * dayMs,
      serial: randomBytes(16),
    })
    return formatPem('CERTIFICATE', leaf) + formatPem('CERTIFICATE', der)
  }
  return {
    rootPem,
    writeRoot(folder, name = 'root.pem') {
      writeFileSync(join(folder, name), rootPem)
      return join(folder, name)
    },
    chain,
    chainFor(csrPem, wish = {}) {
      const csr = parseCsrPem(csrPem)
      return chain({ names: csr.identifiers.map(({ value }) => value), publicKey: csr.publicKey, ...wish })
    },
  }
}

function makeKeys() {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

export type Signed = {
  readonly keyId: string
  readonly created: number
  readonly nonce: string
  readonly covered: string
}

/** RFC 9421 §2.5 by hand. @throws Error where the signature is not there, or not over this request */
export function verifySignature({ method, url, headers, body }: Asked, key: KeyObject | string): Signed {
  const input = /^sig1=(\(([^)]*)\);created=(\d+);nonce="([0-9a-f]{32})";keyid="([^"]+)";alg="([^"]+)")$/.exec(
    String(headers['signature-input']),
  )
  const signature = /^sig1=:([A-Za-z0-9+/=]+):$/.exec(String(headers.signature))?.[1]
  if (input === null || signature === undefined) throw new Error('no signature')
  const [, parameters = '', covered = '', created, nonce = '', keyId = '', algorithm] = input
  const [path = '', query] = url.split('?')
  const values: Record<string, string> = {
    '@method': method,
    '@authority': String(headers.host),
    '@path': path,
    '@query': `?${query}`,
    'content-digest': String(headers['content-digest']),
  }
  const digest = `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
  if (body !== '' && values['content-digest'] !== digest) throw new Error('the digest is not the body\u0027s')
  const lines = covered.split(' ').map((name) => `${name}: ${values[name.replaceAll('"', '')]}`)
  const base = Buffer.from(`${lines.join('\n')}\n"@signature-params": ${parameters}`)
  const bytes = Buffer.from(signature, 'base64')
  const holds =
    typeof key === 'string'
      ? algorithm === 'hmac-sha256' && createHmac('sha256', key).update(base).digest().equals(bytes)
      : verify(
          algorithm === 'ed25519' ? null : 'sha256',
          base,
          algorithm === 'ecdsa-p256-sha256' ? { key, dsaEncoding: 'ieee-p1363' } : key,
          bytes,
        )
  if (!holds) throw new Error(`the ${algorithm} signature does not hold over\n${base}`)
  return { keyId, created: Number(created), nonce, covered }
}
