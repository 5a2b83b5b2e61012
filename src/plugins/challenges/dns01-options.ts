import { parseDnsServer } from '../../dns/exchange.ts'
import type { Option, OptionValues } from '../../plugin-api.ts'
import { parseSeconds, parseYesNo } from '../option-values.ts'

/** Keys of every [verification] whose type is a DNS provider: how we look before the CA does. */
export const dns01Options = {
  resolver: {
    meaning:
      "whom to ask for CNAME, SOA and NS records, host[:port] (default: the system's resolver; with dns01-dnsUpdate its dns-server)",
    type: 'host',
    list: true,
    parse: parseDnsServer,
  },
  'follow-cname': {
    meaning: 'yes: where _acme-challenge.NAME is a CNAME, its target is written',
    type: 'yes or no',
    default: 'yes',
    parse: parseYesNo,
  },
  nameserver: {
    meaning: 'the servers that must show the record before the CA is told, host[:port] (default: all of the zone)',
    type: 'host',
    list: true,
    parse: parseDnsServer,
  },
  'propagation-timeout': {
    meaning: 'how long these may take to show it; 0: they are not asked',
    type: 'seconds',
    default: '120',
    parse: parseSeconds,
  },
} as const satisfies Record<string, Option<unknown>>

export type Dns01Values = OptionValues<typeof dns01Options>
