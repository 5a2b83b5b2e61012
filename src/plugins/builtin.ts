import type { AnyPlugin } from '../plugin-api.ts'
import { allCredential } from './auth/all.ts'
import { hmacCredential } from './auth/hmac.ts'
import { ipCredential } from './auth/ip.ts'
import { publicKeyCredential } from './auth/public-key.ts'
import { http01Solver } from './challenges/http01.ts'
import { dnsUpdateProvider } from './dns/dns-update.ts'
import { acmeIssuer } from './issuers/acme-plugin.ts'
import { localIssuer } from './issuers/local.ts'
import { fileAccountKey } from './keys/file.ts'
import { fileStorage } from './storages/file.ts'
import { noneStorage } from './storages/none.ts'
import { stateStorage } from './storages/state.ts'

/** Every plugin that comes with acmems. One list, so that looking here is enough. */
export const builtinPlugins: readonly AnyPlugin[] = [
  ipCredential,
  hmacCredential,
  publicKeyCredential,
  allCredential,
  http01Solver,
  dnsUpdateProvider,
  fileAccountKey,
  acmeIssuer,
  localIssuer,
  noneStorage,
  stateStorage,
  fileStorage,
]
