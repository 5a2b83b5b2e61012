import { type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'

const keyBytes = 32
export const saltBytes = 16
/** The passwords are ours and 240 bits of chance: the cost only has to slow down who stole the state. */
const cost = { N: 2 ** 14, r: 8, p: 1 } as const

/** `scrypt$N$r$p$salt$key`. */
export async function hashPassword(password: string, salt: Uint8Array): Promise<string> {
  const key = await derive(password, salt, cost)
  return ['scrypt', cost.N, cost.r, cost.p, Buffer.from(salt).toString('base64url'), key.toString('base64url')].join(
    '$',
  )
}

export async function isPassword(password: string, stored: string): Promise<boolean> {
  const [scheme, n, r, p, salt = '', key = ''] = stored.split('$')
  if (scheme !== 'scrypt') return false
  const expected = Buffer.from(key, 'base64url')
  const options = { N: Number(n), r: Number(r), p: Number(p) }
  const derived = await derive(password, Buffer.from(salt, 'base64url'), options)
  return expected.length === derived.length && timingSafeEqual(expected, derived)
}

function derive(password: string, salt: Uint8Array, options: ScryptOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, keyBytes, options, (error, key) => (error === null ? resolve(key) : reject(error)))
  })
}
