// What many runs share: one Pebble for each way of proving names and each share of reused authorizations, and a BIND.
import { exchange } from '../../src/dns/exchange.ts'
import { encodeQuery, recordType, txtValue } from '../../src/dns/message.ts'
import { accountAt } from '../acmems.ts'
import { type Bind, startBind } from '../peers/bind.ts'
import { type Pebble, startPebble } from '../peers/pebble.ts'
import { freePort } from '../peers/peers.ts'
import { createCaLedger } from './ca-ledger.ts'

export type Verification = 'http-01' | 'dns-01'

export type CrashWorldOptions = {
  /** Per cent of good nonces that the CA refuses. */
  readonly nonceReject: number
}

/** A place for one server: an address of its own, so that nobody takes its ports while it is dead. */
export type Place = {
  readonly names: readonly string[]
  readonly signUrl: string
  /** Command line arguments that put it there. */
  readonly args: readonly string[]
  /** Account, verification and who may ask. */
  readonly config: string
  /** How many certificates the CA has issued for the first of the names. */
  countCertificates(): Promise<number>
  /** What is left in the zone of what proved the names. */
  findTxt(): Promise<string[]>
}

export interface CrashWorld extends AsyncDisposable {
  makePlace(verification: Verification, authzReuse: number): Promise<Place>
  /** All that the CAs have made, whether or not anybody heard of it. */
  countOrders(): number
  countCertificates(): number
}

const httpZone = 'crash.test'
const dnsZone = 'zone.test'
const signal = new AbortController().signal

export function createCrashWorld({ nonceReject }: CrashWorldOptions): CrashWorld {
  const owned = new AsyncDisposableStack()
  const pebbles = new Map<string, Promise<Pebble>>()
  const started: Pebble[] = []
  const ledgers = new Map<Pebble, ReturnType<typeof createCaLedger>>()
  let bind: Promise<Bind> | undefined
  let mgmtPort: Promise<number> | undefined
  let places = 0

  async function start(verification: Verification, authzReuse: number): Promise<Pebble> {
    bind ??= verification === 'dns-01' ? startBind([dnsZone]).then((peer) => owned.use(peer)) : undefined
    const dns = verification === 'dns-01' ? { dnsServer: `127.0.0.1:${(await bind)?.port}` } : {}
    const pebble = owned.use(await startPebble({ nonceReject, authzReuse, ...dns }))
    started.push(pebble)
    ledgers.set(pebble, createCaLedger(pebble))
    return pebble
  }

  return {
    async makePlace(verification, authzReuse) {
      const key = `${verification} ${authzReuse}`
      const starting = pebbles.get(key) ?? start(verification, authzReuse)
      pebbles.set(key, starting)
      mgmtPort ??= freePort()
      const place = ++places
      const [pebble, port] = [await starting, await mgmtPort]
      const address = `127.77.${place >> 8}.${place & 255}`
      const zone = verification === 'http-01' ? httpZone : dnsZone
      const names = [`a.n${place}.${zone}`, `b.n${place}.${zone}`]
      if (verification === 'http-01') for (const name of names) await pebble.setA(name, [address])
      const dnsPort = (await bind)?.port
      return {
        names,
        signUrl: `http://${address}:${port}/sign`,
        args: ['--set', `mgmt.listener=${address}:${port}`],
        config: `${accountAt(pebble)}${
          verification === 'http-01'
            ? `[verification "http"]\ntype = http01\nlistener = ${address}:${pebble.httpPort}\n`
            : `[verification "dns"]\ntype = dns01-dnsUpdate\ndns-server = 127.0.0.1:${dnsPort}\nttl = 1\n`
        }[auth "lab"]\nip = 127.0.0.0/8\ndomain = **.${zone}\n`,
        countCertificates: async () => (await ledgers.get(pebble)?.countFor(names[0] ?? '')) ?? 0,
        findTxt: async () => (dnsPort === undefined ? [] : await findTxt(dnsPort, names)),
      }
    },
    countOrders: () => started.reduce((sum, pebble) => sum + countMatches(pebble.log(), /Added order "/g), 0),
    countCertificates: () => started.reduce((sum, pebble) => sum + pebble.issuedCount(), 0),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

async function findTxt(port: number, names: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const name of names) {
    const query = encodeQuery(7, `_acme-challenge.${name}`, recordType.txt)
    const { answers } = await exchange({ host: '127.0.0.1', port }, query, 5000, signal)
    found.push(
      ...answers.filter(({ type }) => type === recordType.txt).map(({ rdata }) => `${name} ${txtValue(rdata)}`),
    )
  }
  return found
}

function countMatches(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0
}
