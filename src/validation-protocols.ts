/** The protocols that validators come by, for each kind of `[verification]` that listens itself. */
export const validationProtocols: Readonly<Record<string, readonly ('tcp' | 'udp')[]>> = {
  http01: ['tcp'],
  tlsalpn01: ['tcp'],
  'dns01-server': ['tcp', 'udp'],
}
