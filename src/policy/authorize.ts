import type { Identifier } from '../acme/identifier.ts'
import type { Caller, Credential, Grant, Presented } from '../plugin-api.ts'
import type { Csr } from '../x509/csr.ts'
import type { Block } from './block.ts'

export type Refusal = { readonly identifier: Identifier; readonly reason: string }
export type Decision =
  | { readonly allowed: true; readonly grant: Grant }
  | { readonly allowed: false; readonly refused: readonly Refusal[] }

/** Which blocks' conditions hold for this request: every credential of the block. */
export function authenticate(presented: Presented, blocks: readonly Block[]): Caller {
  const held = blocks.filter((block) => holds(block, (credential) => credential.holds(presented)))
  return { remoteAddress: presented.remoteAddress, blocks: held.map((block) => block.name) }
}

/** Could any block accept this caller, whatever the body says? If not, the body need not be read. */
export function couldAuthenticate(head: Omit<Presented, 'bodyBytes'>, blocks: readonly Block[]): boolean {
  return blocks.some((block) => holds(block, (credential) => credential.couldHold?.(head) ?? true))
}

/** Is a signature all that could be missing for some block to accept this caller? */
export function couldAuthenticateSigned(head: Omit<Presented, 'bodyBytes'>, blocks: readonly Block[]): boolean {
  return blocks.some(
    (block) =>
      block.credentials.some(wantsSignature) &&
      holds(block, (credential) => wantsSignature(credential) || (credential.couldHold?.(head) ?? true)),
  )
}

/** Is it clear without the body that only blocks that record nothing could accept this caller? */
export function couldOnlyBeUnrecorded(head: Omit<Presented, 'bodyBytes'>, blocks: readonly Block[]): boolean {
  if (!blocks.some(({ unrecorded }) => unrecorded)) return false
  return areUnrecorded(blocks.filter((block) => holds(block, (credential) => credential.couldHold?.(head) ?? true)))
}

/** Did none but blocks that record nothing accept this caller? */
export function isUnrecorded(caller: Caller, blocks: readonly Block[]): boolean {
  return areUnrecorded(blocks.filter(({ name }) => caller.blocks.includes(name)))
}

function areUnrecorded(accepting: readonly Block[]): boolean {
  return accepting.length > 0 && accepting.every(({ unrecorded }) => unrecorded)
}

export function wantsSignature({ signingKeys }: Credential): boolean {
  return signingKeys !== undefined
}

/** A block without a condition is no open door: it accepts nobody. */
function holds(block: Block, ask: (credential: Credential) => boolean): boolean {
  return block.credentials.length > 0 && block.credentials.every(ask)
}

/**
 * The first block whose conditions held and which covers *every* name makes the grant; names are never gathered from
 * several blocks. The only maker of a Grant.
 */
export function authorize(caller: Caller, csr: Csr, blocks: readonly Block[]): Decision {
  const candidates = blocks.filter((block) => caller.blocks.includes(block.name))
  const block = candidates.find(
    (candidate) =>
      csr.identifiers.length <= candidate.maxNames &&
      csr.identifiers.every((identifier) => candidate.covers(identifier)),
  )
  if (block === undefined || csr.identifiers.length === 0) return { allowed: false, refused: explain(csr, candidates) }
  const { issuer, verification, storage, profile } = block
  const how = { issuer, verification, storage, profile, ...(block.unrecorded === true ? { unrecorded: true } : {}) }
  return { allowed: true, grant: { block: block.name, caller, csr, ...how } as Grant }
}

/** Why not, about the names that were asked for and nothing else: a refusal tells no stranger what others may have. */
function explain(csr: Csr, candidates: readonly Block[]): Refusal[] {
  const all = (reason: string) => csr.identifiers.map((identifier) => ({ identifier, reason }))
  if (candidates.length === 0) return all('no auth block accepts this caller')
  const uncovered = csr.identifiers.filter((identifier) => !candidates.some((block) => block.covers(identifier)))
  if (uncovered.length > 0) {
    return uncovered.map((identifier) => ({ identifier, reason: 'not in any auth block that accepts this caller' }))
  }
  const limited = candidates.some((block) => csr.identifiers.every((identifier) => block.covers(identifier)))
  return all(limited ? 'more names than max-names allows' : 'no single auth block covers all names of this request')
}
