import type { AnyPlugin } from '../plugin-api.ts'
import { allCredential } from './auth/all.ts'
import { clientCertificateCredential } from './auth/client-certificate.ts'
import { hmacCredential } from './auth/hmac.ts'
import { ipCredential } from './auth/ip.ts'
import { passwordCredential } from './auth/password.ts'
import { publicKeyCredential } from './auth/public-key.ts'
import { dnsServerSolver } from './challenges/dns-server.ts'
import { http01Solver } from './challenges/http01.ts'
import { tlsAlpn01Solver } from './challenges/tlsalpn01.ts'
import { cloudflareProvider } from './dns/cloudflare.ts'
import { digitaloceanProvider } from './dns/digitalocean.ts'
import { dnsUpdateProvider } from './dns/dns-update.ts'
import { execProvider } from './dns/exec.ts'
import { gandiProvider } from './dns/gandi.ts'
import { hetznerProvider } from './dns/hetzner.ts'
import { httpreqProvider } from './dns/httpreq.ts'
import { powerdnsProvider } from './dns/powerdns.ts'
import { route53Provider } from './dns/route53.ts'
import { acmeIssuer } from './issuers/acme-plugin.ts'
import { acmemsIssuer } from './issuers/acmems.ts'
import { localIssuer } from './issuers/local.ts'
import { accountdAccountKey } from './keys/accountd.ts'
import { execAccountKey } from './keys/exec.ts'
import { fileAccountKey } from './keys/file.ts'
import { sshAgentAccountKey } from './keys/ssh-agent.ts'
import { fileStorage } from './storages/file.ts'
import { noneStorage } from './storages/none.ts'
import { stateStorage } from './storages/state.ts'

/** Every plugin that comes with acmems. One list, so that looking here is enough. */
export const builtinPlugins: readonly AnyPlugin[] = [
  ipCredential,
  hmacCredential,
  publicKeyCredential,
  clientCertificateCredential,
  passwordCredential,
  allCredential,
  http01Solver,
  tlsAlpn01Solver,
  dnsServerSolver,
  dnsUpdateProvider,
  execProvider,
  httpreqProvider,
  cloudflareProvider,
  digitaloceanProvider,
  gandiProvider,
  hetznerProvider,
  powerdnsProvider,
  route53Provider,
  fileAccountKey,
  accountdAccountKey,
  execAccountKey,
  sshAgentAccountKey,
  acmeIssuer,
  localIssuer,
  acmemsIssuer,
  noneStorage,
  stateStorage,
  fileStorage,
]
