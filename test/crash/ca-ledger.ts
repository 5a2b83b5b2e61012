import { X509Certificate } from 'node:crypto'
import type { Pebble } from '../peers/pebble.ts'

/** What the CA itself says it has issued; no client's word is taken. */
export function createCaLedger(pebble: Pebble): { countFor(name: string): Promise<number> } {
  const names = new Map<string, Promise<string>>()
  async function namesOf(serial: string): Promise<string> {
    const told: unknown = JSON.parse(await pebble.manage(`/cert-status-by-serial/${serial}`))
    const pem = (told as { Certificate: string }).Certificate
    return new X509Certificate(pem).subjectAltName ?? ''
  }
  return {
    async countFor(name: string): Promise<number> {
      for (const [, serial = ''] of pebble.log().matchAll(/Issued certificate serial ([0-9a-f]+) for order/g))
        if (!names.has(serial)) names.set(serial, namesOf(serial))
      const all = await Promise.all(names.values())
      return all.filter((known) => known.split(', ').includes(`DNS:${name}`)).length
    },
  }
}
