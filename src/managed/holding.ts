import type { Chain } from '../x509/chain.ts'

/** A request for a managed certificate, and how it came to be. */
export type HeldRequest = {
  /** The PEM text. */
  readonly postedBytes: Uint8Array
  /** What is wanted otherwise by now than when it was made; empty when nothing is. */
  readonly changes: readonly string[]
}

export type HeldCertificate = HeldRequest & {
  readonly serial: string
  readonly notBeforeMs?: number
  /** Its hook has yet to run, where whoever installs it runs that, too. */
  readonly isHookDue?: boolean
}

/** `keyIsLost`: it cannot be repaired. */
export type Damage = { readonly reason: string; readonly keyIsLost: boolean }

/**
 * Where a managed certificate's key is, and where the certificate goes: files of this machine, or a sealed box. The key
 * of a request is safe before the request is used: no crash takes the key for which a CA issues.
 */
export interface Holding {
  /** What was asked for and is not in place. */
  next(): Promise<HeldRequest | undefined>
  /** What is in place. */
  current(): Promise<HeldCertificate | undefined>
  /** Makes a key where one is needed, and the next request with it. Durable when resolved. */
  begin(): Promise<HeldRequest>
  /** Forgets the next request. */
  discard(): Promise<void>
  /**
   * Puts the certificate of the next request in place, or that of the current one once more.
   * @throws Error saying why it cannot be; what was in place before is so again
   */
  install(chain: Chain, occasion: 'next' | 'again'): Promise<void>
  /** What is wrong with what is in place; undefined: nothing. */
  findDamage(): Promise<Damage | undefined>
  /** Takes away what a process that died has left. */
  tidy(): Promise<void>
}
