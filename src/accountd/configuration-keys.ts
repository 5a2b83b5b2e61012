/** lacme-accountd's, which may stand in the file without a value, as in the one that it brings; what they mean. */
export const lacmeKeys = {
  privkey: 'the key: file:PATH, gpg:PATH or ssh-agent:[SOCKET/]KEY',
  gpg: 'the command that decrypts gpg:PATH (gpg --quiet)',
  socket: 'where to listen (%t/S.lacme)',
  logfile: 'file for what standard error is told, too',
  keyid: "the account's address: nothing but issuing is signed, for it alone, and the key stays hidden",
  quiet: 'yes: say less on standard error',
} as const

/** Ours. */
export const ownKeys = {
  policy:
    'issuing: only what gets and takes back certificates; account: all but what ends the account or gives it away',
  server: "the CA's directory, whose origin counts; with keyid not needed",
  names: 'orders for these names alone: patterns, as domain in an [auth] block, and addresses',
  wildcards: 'yes: names may be wildcards',
  rate: 'so many signatures in any such time: 600/1h',
  'order-rate': 'so many orders in any such time: 50/1d',
  'audit-log': 'file of JSON lines, each with the hash of the one before; what it cannot take is not signed',
  'passphrase-file': 'opens an encrypted key; without it the terminal is asked',
  'admin-socket': 'a second socket, always 0600, at which everything is signed',
  'socket-mode': '0600, or 0660 for a group',
  'socket-group': "the socket's group (that of its folder, where the folder has the setgid bit)",
} as const
