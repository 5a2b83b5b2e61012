import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { ProblemError } from '../acme/problem.ts'
import { opensslKeyIdentifier } from './key-identifier.ts'
import { type PemBlock, parsePem } from './pem.ts'
import { parseSubjectPublicKey } from './public-key.ts'
import { spkiOf } from './spki.ts'

/** Whom keys are sealed to: a public key, and nothing else about its holder. */
export type Recipient = {
  readonly publicKey: KeyObject
  readonly spkiDer: Uint8Array
  /** What a sealed key calls it by: openssl's subject key identifier, which a bare key has as well. */
  readonly keyIdentifier: Uint8Array
}

const curves = new Set(['prime256v1', 'secp384r1', 'secp521r1'])
const advice = 'use an EC key (openssl ecparam -name prime256v1 -genkey -noout) or RSA of at least 2048 bits'

/**
 * Reads a recipient: a PEM public key, or a PEM certificate, of which only the key counts.
 * @throws ProblemError `badPublicKey` that says why nothing is sealed to it
 */
export function parseRecipient(pem: string): Recipient {
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(pem))
    throw refuse('this is a private key: treat it as exposed, make a new one, and give only its public half')
  const publicKey = importKey(onlyBlock(pem))
  checkKey(publicKey)
  return { publicKey, spkiDer: spkiOf(publicKey), keyIdentifier: opensslKeyIdentifier(publicKey) }
}

function onlyBlock(pem: string): PemBlock {
  const { blocks } = readBlocks(pem)
  // openssl ecparam -genkey writes the curve's parameters before the key.
  const [block, ...more] = blocks.filter(({ label }) => label !== 'EC PARAMETERS')
  if (block === undefined) throw refuse('there is no PEM block "PUBLIC KEY" or "CERTIFICATE" in it')
  if (more.length > 0) throw refuse('there is more than one PEM block in it; a key is sealed to one recipient')
  return block
}

function readBlocks(pem: string): ReturnType<typeof parsePem> {
  try {
    return parsePem(pem)
  } catch (cause) {
    throw new ProblemError('badPublicKey', 'the PEM block is damaged', { cause })
  }
}

function importKey({ label, der }: PemBlock): KeyObject {
  if (label !== 'PUBLIC KEY' && label !== 'CERTIFICATE')
    throw refuse(`a ${label}, where a PUBLIC KEY or a CERTIFICATE should be`)
  try {
    if (label === 'CERTIFICATE') return new X509Certificate(der).publicKey
    return createPublicKey({ key: Buffer.from(der), format: 'der', type: 'spki' })
  } catch (cause) {
    throw new ProblemError('badPublicKey', `the ${label.toLowerCase()} could not be read`, { cause })
  }
}

function checkKey(key: KeyObject): void {
  switch (key.asymmetricKeyType) {
    case 'rsa':
      // What no CA may certify, nothing is sealed to either.
      parseSubjectPublicKey(spkiOf(key))
      return
    case 'ec': {
      const curve = key.asymmetricKeyDetails?.namedCurve ?? ''
      if (!curves.has(curve))
        throw refuse(`nothing is sealed to a key on ${curve}; the curve must be P-256, P-384 or P-521`)
      return
    }
    case 'ed25519':
    case 'ed448':
      throw refuse(`an ${nameOf(key)} key can sign, but nothing can be sealed to it; ${advice}`)
    case 'x25519':
    case 'x448':
      throw refuse(`openssl cms cannot open what is sealed to an ${nameOf(key)} key; ${advice}`)
    default:
      throw refuse(`nothing is sealed to a key of type ${key.asymmetricKeyType}; ${advice}`)
  }
}

function nameOf(key: KeyObject): string {
  const type = key.asymmetricKeyType ?? ''
  return `${type.charAt(0).toUpperCase()}${type.slice(1)}`
}

function refuse(reason: string): ProblemError {
  return new ProblemError('badPublicKey', reason)
}
