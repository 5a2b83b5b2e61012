import { createPublicKey, hash, type KeyObject, verify } from 'node:crypto'
import { connect } from 'node:net'
import { fixedWidth, SshReader, sshNumber, sshString } from './ssh-wire.ts'

/** A key in an ssh-agent; with `ssh-add -s` it can be one that no file ever held. */
export type AgentKey = {
  readonly alg: 'RS256' | 'ES256' | 'ES384'
  readonly publicJwk: Readonly<Record<string, string>>
  sign(octets: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
}

export type AgentPlace = {
  readonly socketPath: string
  /** `SHA256:…` as ssh-add -l shows it, or the comment. */
  readonly wanted: string
}

// draft-ietf-sshm-ssh-agent §5.1, §5.3
const requestIdentities = 11
const identitiesAnswer = 12
const signRequest = 13
const signResponse = 14
const rsaSha256Flag = 2
const maxAnswerBytes = 256 * 1024
const answerMs = 60_000

/**
 * `[SOCKET/]SHA256:…` or `[SOCKET/]COMMENT`; fingerprints and comments may have slashes of their own.
 * @param usualSocket SSH_AUTH_SOCK
 * @throws Error when no agent is named
 */
export function parseAgentPlace(text: string, usualSocket: string | undefined): AgentPlace {
  const [, socket = usualSocket, wanted = text] =
    /^(\/.*?)\/(SHA256:[A-Za-z0-9+/]{43}=?)$/.exec(text) ?? /^(\/.*)\/([^/]+)$/.exec(text) ?? []
  if (socket === undefined || socket === '')
    throw new Error(
      `ssh-agent:${text} names no agent, and SSH_AUTH_SOCK is not set: write ssh-agent:/PATH/OF/SOCKET/KEY`,
    )
  if (wanted === '') throw new Error('name the key in the agent: its fingerprint, or its comment')
  return { socketPath: socket, wanted: wanted.replace(/=$/, '') }
}

/** @throws Error when the agent is not there, has no such key, or has several of that comment */
export async function openAgentKey({ socketPath, wanted }: AgentPlace, signal: AbortSignal): Promise<AgentKey> {
  const identities = await listIdentities(socketPath, signal)
  const found = identities.filter(({ blob, comment }) => comment === wanted || fingerprintOf(blob) === wanted)
  const [identity, another] = found
  if (identity === undefined) {
    const known =
      identities.map(({ blob, comment }) => `${fingerprintOf(blob)} (${comment})`).join(', ') ||
      'none, or it is locked (ssh-add -X)'
    throw new Error(`the ssh-agent at ${socketPath} has no key ${JSON.stringify(wanted)}; it has ${known}`)
  }
  if (another !== undefined)
    throw new Error(`the ssh-agent at ${socketPath} has several keys ${JSON.stringify(wanted)}: use a fingerprint`)
  const { publicKey, alg } = publicKeyOf(identity.blob)
  return {
    alg,
    publicJwk: publicMembers(publicKey),
    async sign(octets, signSignal) {
      const flags = sshNumber(alg === 'RS256' ? rsaSha256Flag : 0)
      const message = Buffer.concat([Buffer.of(signRequest), sshString(identity.blob), sshString(octets), flags])
      const answer = await ask(socketPath, message, signSignal)
      if (answer[0] !== signResponse)
        throw new Error(`the ssh-agent at ${socketPath} does not sign with the key: is it locked, or wants it a touch?`)
      const signature = joseSignature(new SshReader(answer.subarray(1)).string(), alg, publicKey)
      const digest = alg === 'ES384' ? 'sha384' : 'sha256'
      if (!verify(digest, octets, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature))
        throw new Error(`the ssh-agent at ${socketPath} signed, but not so that the key's signature holds`)
      return signature
    },
  }
}

type Identity = { readonly blob: Buffer; readonly comment: string }

async function listIdentities(socketPath: string, signal: AbortSignal): Promise<Identity[]> {
  const answer = await ask(socketPath, Buffer.of(requestIdentities), signal)
  if (answer[0] !== identitiesAnswer) throw new Error(`what answers at ${socketPath} is no ssh-agent`)
  const reader = new SshReader(answer.subarray(1))
  return Array.from({ length: Math.min(reader.number(), 1000) }, () => ({
    blob: reader.string(),
    comment: reader.string().toString(),
  }))
}

function fingerprintOf(blob: Buffer): string {
  return `SHA256:${hash('sha256', blob, 'base64').replace(/=+$/, '')}`
}

/** RFC 4253 §6.6, RFC 5656 §3.1. @throws Error for keys that no ACME account can have */
function publicKeyOf(blob: Buffer): { publicKey: KeyObject; alg: AgentKey['alg'] } {
  const reader = new SshReader(blob)
  const kind = reader.string().toString()
  const [first, second] = [reader.string(), kind === 'ssh-ed25519' ? Buffer.alloc(0) : reader.string()]
  const text = (bytes: Buffer) => bytes.subarray(bytes[0] === 0 ? 1 : 0).toString('base64url')
  const make = (key: Record<string, string>) => createPublicKey({ key, format: 'jwk' })
  if (kind === 'ssh-rsa' && second.length > 256)
    return { alg: 'RS256', publicKey: make({ kty: 'RSA', e: text(first), n: text(second) }) }
  const curve = { 'ecdsa-sha2-nistp256': 'P-256', 'ecdsa-sha2-nistp384': 'P-384' }[kind]
  if (curve === undefined || second[0] !== 4)
    throw new Error(`an account key must be RSA of at least 2048 bits, P-256 or P-384; the agent's is ${kind}`)
  const half = (second.length - 1) / 2
  const [x, y] = [second.subarray(1, 1 + half), second.subarray(1 + half)].map((part) => part.toString('base64url'))
  return {
    alg: curve === 'P-256' ? 'ES256' : 'ES384',
    publicKey: make({ kty: 'EC', crv: curve, x: x ?? '', y: y ?? '' }),
  }
}

function publicMembers(key: KeyObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(key.export({ format: 'jwk' })).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  )
}

/** SSH's clothes taken off: RFC 8332 §3, RFC 5656 §3.1.2. */
function joseSignature(blob: Buffer, alg: AgentKey['alg'], publicKey: KeyObject): Buffer {
  const reader = new SshReader(blob)
  const kind = reader.string().toString()
  const inner = reader.string()
  if (alg === 'RS256') {
    if (kind !== 'rsa-sha2-256') throw new Error(`the ssh-agent signs with ${kind} only, which ACME does not know`)
    return fixedWidth(inner, Math.ceil((publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8))
  }
  const width = alg === 'ES256' ? 32 : 48
  const numbers = new SshReader(inner)
  return Buffer.concat([fixedWidth(numbers.string(), width), fixedWidth(numbers.string(), width)])
}

/** One question on a connection of its own: agents are quick to connect to, and a broken one is left at once. */
function ask(socketPath: string, message: Buffer, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const stop = AbortSignal.any([signal, AbortSignal.timeout(answerMs)])
    const socket = connect({ path: socketPath })
    let answer = Buffer.alloc(0)
    const fail = (error: Error) => {
      stop.removeEventListener('abort', onAbort)
      socket.destroy()
      reject(new Error(`the ssh-agent at ${socketPath}: ${error.message}`, { cause: error }))
    }
    const onAbort = () => fail(stop.reason instanceof Error ? stop.reason : new Error('given up'))
    stop.addEventListener('abort', onAbort)
    if (stop.aborted) onAbort()
    socket.on('error', fail)
    socket.on('close', () => fail(new Error('it closed the connection')))
    socket.on('data', (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk])
      if (answer.length < 4) return
      const length = answer.readUInt32BE(0)
      if (length === 0 || length > maxAnswerBytes) fail(new Error('it answers nonsense'))
      else if (answer.length >= 4 + length) {
        stop.removeEventListener('abort', onAbort)
        socket.removeAllListeners('close').destroy()
        resolve(answer.subarray(4, 4 + length))
      }
    })
    socket.write(sshString(message))
  })
}
