import type { CertificateStorage, KeptRequest } from '../plugin-api.ts'
import { chainFileOf } from '../plugins/storages/file.ts'
import type { StoredEntry } from '../state/certificate-register.ts'
import { type Chain, parseChain } from '../x509/chain.ts'
import { parseCsrPem } from '../x509/csr.ts'
import type { Desk } from './open-installation.ts'

/** What a storage keeps for an entry. */
export type KeptChain = { readonly storage: CertificateStorage; readonly request: KeptRequest; readonly chain: Chain }

/** The chain as it is answered to the host, whatever today's blocks allow. undefined: it is not there any more. */
export async function findKeptChain(desk: Desk, entry: StoredEntry): Promise<KeptChain | undefined> {
  const storage = (await desk.openRuntime()).storages.get(entry.storage)
  if (storage === undefined) return undefined
  const request: KeptRequest = {
    postedBytes: entry.postedBytes,
    csr: parseCsrPem(Buffer.from(entry.postedBytes).toString('latin1')),
    issuerKey: entry.issuedBy,
    profile: entry.profile,
  }
  const pem = await storage.find(request, desk.context)
  return pem === undefined ? undefined : { storage, request, chain: parseChain(pem) }
}

/** For people: the file, or which storage. */
export function describeStorage({ config, stateUrl }: Desk, entry: StoredEntry): string {
  const chosen = config.storages.get(entry.storage)
  if (chosen === undefined) return `storage "${entry.storage}", which the configuration does not have any more`
  const { directory } = chosen.options
  if (chosen.plugin.name === 'file' && typeof directory === 'string') return chainFileOf(directory, entry.postedBytes)
  if (chosen.plugin.name === 'state') return `the state, ${stateUrl.replace(/:[^:@/]*@/, ':…@')}`
  return `storage "${entry.storage}"`
}
