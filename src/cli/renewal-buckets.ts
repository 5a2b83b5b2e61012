import { isIP } from 'node:net'
import type { Identifier } from '../acme/identifier.ts'
import type { RateBucket } from '../acme/rate-limit.ts'
import type { Config } from '../config/config.ts'
import { platformSettings } from '../config/environment.ts'
import type { RegisterEntry } from '../issuance/records.ts'
import type { OptionValues } from '../plugin-api.ts'
import { accountDirectory, readRegistrationAt } from '../plugins/issuers/account-directory.ts'
import { type acmeOptions, defaultAccountFolder } from '../plugins/issuers/acme-plugin.ts'
import { bucketsOf, rateLimitsOf } from '../plugins/issuers/rate-limits.ts'
import { stateFolderOf } from '../state/state.ts'

/** What a renewal will take from a CA's limits. */
export type BucketFinder = (entry: RegisterEntry, isFirst: boolean) => readonly RateBucket[]

type Ca = {
  readonly issuerKey: string
  readonly accountUrl: string
  readonly limits: ReturnType<typeof rateLimitsOf>
}

/** By the limits of the configuration, as the issuer itself will take them. */
export async function createBucketFinder(config: Config): Promise<BucketFinder> {
  const stateFolder = stateFolderOf(config.stateUrl ?? '', platformSettings().stateFolder)
  const cas = new Map<string, Ca>()
  for (const [name, { plugin, options: given }] of config.issuers) {
    if (plugin.name !== 'acme') continue
    const options = given as OptionValues<typeof acmeOptions>
    const directoryUrl = options['acme-server']
    const folder = accountDirectory(options.dir ?? defaultAccountFolder(stateFolder, name))
    const registration = await readRegistrationAt(folder, directoryUrl)
    const limits = rateLimitsOf(options, directoryUrl)
    cas.set(name, { issuerKey: `acme:${directoryUrl}`, accountUrl: registration?.uri ?? '', limits })
  }
  return (entry, isFirst) => {
    const ca = cas.get(entry.issuer)
    if (ca === undefined) return []
    // What a renewal is exempt from: see placeOrder. A certificate of another CA is no predecessor there.
    const isSuccessor = !isFirst || entry.issuedBy === ca.issuerKey
    const exempt = !isSuccessor ? 'nothing' : entry.plan.info === undefined ? 'same names' : 'asked by the CA'
    const taken = bucketsOf(ca.limits, ca.issuerKey, ca.accountUrl, entry.names.map(identifierOf), exempt)
    // Failures are given back where there is none.
    return [...taken.orders, ...taken.certificates]
  }
}

function identifierOf(name: string): Identifier {
  return { type: isIP(name) === 0 ? 'dns' : 'ip', value: name }
}
