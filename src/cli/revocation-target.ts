import { readFile } from 'node:fs/promises'
import type { Issuer } from '../plugin-api.ts'
import type { StoredEntry } from '../state/certificate-register.ts'
import { type Chain, parseChain } from '../x509/chain.ts'
import { chooseCertificate } from './certificate-choice.ts'
import { describeStorage, findKeptChain, type KeptChain } from './kept-chain.ts'
import type { Desk } from './open-installation.ts'

/** A certificate that is to be revoked, and what we know of it. */
export type Target = {
  readonly chain: Chain
  readonly entry?: StoredEntry
  /** Where it is kept, if it still is. */
  readonly kept?: KeptChain
}

/** @throws Error when there is no such certificate, or it cannot be had any more */
export async function findTarget(desk: Desk, text: string): Promise<Target> {
  if (/\/|\.(pem|crt|cer)$/i.test(text)) return await targetOfFile(desk, text)
  const entry = await chooseCertificate(desk.state.register, text, desk.clock.nowMs(), true)
  const kept = await findKeptChain(desk, entry)
  if (kept?.chain.leaf.serial === entry.serial) return { chain: kept.chain, entry, kept }
  throw new Error(
    `the certificate ${entry.serial} is not in ${describeStorage(desk, entry)} any more: name its PEM file instead`,
  )
}

async function targetOfFile(desk: Desk, file: string): Promise<Target> {
  const chain = await readChain(file)
  const { serial } = chain.leaf
  const known = await desk.state.register.search({ hexPrefix: serial }, 10)
  const entry = known.find((one) => one.serial === serial)
  if (entry === undefined) return { chain }
  const kept = await findKeptChain(desk, entry)
  return kept?.chain.leaf.x509.raw.equals(chain.leaf.x509.raw) === true ? { chain, entry, kept } : { chain, entry }
}

async function readChain(file: string): Promise<Chain> {
  const pem = await readFile(file, 'utf8')
  try {
    return parseChain(pem)
  } catch (cause) {
    throw new Error(`${file}: ${cause instanceof Error ? cause.message : 'no certificate'}`, { cause })
  }
}

export type RevokingIssuer = { readonly name: string; readonly revoke: NonNullable<Issuer['revoke']> }

/**
 * The issuer that the certificate came from.
 * @param given the operator's word, for a certificate that we know nothing of
 * @throws Error when it is not known, or revokes nothing
 */
export async function findIssuer(desk: Desk, target: Target, given: string | undefined): Promise<RevokingIssuer> {
  const { issuers } = await desk.openRuntime()
  if (given !== undefined) {
    const issuer = issuers.get(given)
    if (issuer === undefined)
      throw new Error(`the configuration has no [issuer "${given}"]; it has ${[...issuers.keys()].join(', ')}`)
    return revoking(given, issuer)
  }
  const issuerKey = target.entry?.issuedBy ?? (await issuerOfStory(desk, target))
  if (issuerKey !== undefined) {
    for (const [name, issuer] of issuers) if (issuer.key === issuerKey) return revoking(name, issuer)
    throw new Error(`the certificate came from ${issuerKey}, which the configuration does not have any more`)
  }
  const able = [...issuers].filter(([, { revoke }]) => revoke !== undefined)
  const [only] = able
  if (only !== undefined && able.length === 1) return revoking(...only)
  throw new Error(
    `nothing is known of the certificate ${target.chain.leaf.serial}: say with --issuer which of ${[...issuers.keys()].join(', ')} it came from`,
  )
}

async function issuerOfStory({ state }: Desk, { chain }: Target): Promise<string | undefined> {
  const [story] = await state.stories.list(1, { serial: chain.leaf.serial })
  return story?.issuerKey
}

function revoking(name: string, issuer: Issuer): RevokingIssuer {
  if (issuer.revoke === undefined)
    throw new Error(
      `[issuer "${name}"] revokes nothing: nobody would hear of it; take its root away from who trusts it`,
    )
  return { name, revoke: issuer.revoke }
}
