import type { Config } from '../config/config.ts'

/** How the configuration calls an issuer that the state knows by its key; one that it does not name keeps the key. */
export function issuerNames({ issuers }: Config): (issuerKey: string) => string {
  const names = new Map<string, string>()
  for (const [name, { plugin, options }] of issuers)
    if (plugin.name === 'acme') names.set(`acme:${String(options['acme-server'])}`, name)
  return (issuerKey) => names.get(issuerKey) ?? issuerKey.replace(/^acme:/, '')
}
