/** RFC 8555 §6.5: every response brings a nonce, every request spends one; never the same twice. */
export type NoncePool = { take(): string | undefined; add(nonce: string | undefined): void; clear(): void }

const maxNonces = 64
const maxAgeMs = 5 * 60_000

/** The newest first: CAs forget nonces by age, and when the instance that made them is gone. */
export function createNoncePool(nowMs: () => number): NoncePool {
  const pool: { nonce: string; atMs: number }[] = []
  return {
    take() {
      const newest = pool.pop()
      if (newest === undefined || nowMs() - newest.atMs <= maxAgeMs) return newest?.nonce
      pool.length = 0
      return undefined
    },
    add(nonce) {
      if (nonce === undefined || !isNonce(nonce) || pool.some((kept) => kept.nonce === nonce)) return
      pool.push({ nonce, atMs: nowMs() })
      if (pool.length > maxNonces) pool.shift()
    },
    clear() {
      pool.length = 0
    },
  }
}

/** RFC 8555 §6.5.1: base64url, or it is ignored. */
export function isNonce(text: string): boolean {
  return /^[A-Za-z0-9_-]+$/.test(text)
}
