import { BlockList, isIPv6 } from 'node:net'

/** What is no address of the public Internet (RFC 6890 and the registries that it began), or stands for such a one. */
const notPublic = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ...['224.0.0.0/4', '240.0.0.0/4'],
  ...['::/96', '::ffff:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32'],
  ...['2002::/16', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
]

// One list a family: in a common one an IPv4 address counts as its IPv6 form, too.
const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
for (const range of notPublic) {
  const [network = '', prefix] = range.split('/')
  const family = familyOf(network)
  lists[family].addSubnet(network, Number(prefix), family)
}

/** May we connect there because a name says so? Whoever may ask for a name chooses what it points at. */
export function isPublicAddress(address: string): boolean {
  const family = familyOf(address)
  return !lists[family].check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}
