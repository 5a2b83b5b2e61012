// What the manual pages say beside what the program itself says. docs/configuration.md says it at length.

type Item = readonly [term: string, meaning: string]

export const seeAlso = [
  'acmems(1)',
  'acmems-accountd(1)',
  'acmems-agent(1)',
  'agent.sh(1)',
  'acmems.ini(5)',
  'acmems-install(8)',
  'systemd.service(5)',
]

export const signals: readonly Item[] = [
  ['SIGTERM, SIGINT', 'stop when what is in flight is done'],
  [
    'SIGHUP',
    'read the configuration again, and open the log again; a configuration with a mistake changes nothing, and the log says why',
  ],
]

export const accountdSignals: readonly Item[] = [
  ['SIGTERM, SIGINT', 'end'],
  ['SIGHUP', 'open the log and the audit log anew; the configuration is read at the start alone'],
]

export const accountdConfiguration =
  "lacme-accountd's file: key = value, no sections; comments are whole lines, or begin with a semicolon between blanks. In paths, %E, %t, %h and the like are lacme's; %d is systemd's folder of credentials."

export const environmentVariables: readonly Item[] = [
  ['ACMEMS_SECTION_KEY, ACMEMS_SECTION__NAME__KEY', 'a key of the configuration, over the files: acmems.ini(5)'],
  ['STATE_DIRECTORY, XDG_STATE_HOME', 'where the state lies when the configuration does not say'],
  ['ACME_CAFILE, LEGO_CA_CERTIFICATES', 'files with roots to trust a CA by, beside the usual ones'],
  ['NOTIFY_SOCKET, WATCHDOG_USEC', "systemd's; the unit needs Type=notify and NotifyAccess=all"],
]

export const files: readonly Item[] = [
  ['/etc/acmems/acmems.ini', "the configuration, where Debian's package and acmems init put it"],
  [
    '/var/lib/acmems',
    'the state: the database, the folder account with the account key, the folder ca with the embedded CA. Nobody can make these keys again: back them up',
  ],
  [
    '/var/lib/acmems-accountd, /var/lib/acmems-install',
    "what the parts keep that are processes of their own (processes.md there): the account key; the next keys of certificates, root's alone",
  ],
  ['/run/acmems-accountd, -answers, -firewall, -install', 'the sockets between these parts'],
  ['/usr/share/doc/acmems', "the documentation, in Debian's package"],
]

type Part = { readonly title: string; readonly text: string; readonly example?: string }

export const configurationFile: readonly Part[] = [
  {
    title: 'DESCRIPTION',
    text: `A configuration is one or several files. acmems check-config FILE reads them as the server would, and says what they mean, or every mistake with file and line.

A file has sections, [kind] or [kind "name"], and in them lines of key = value. # and ; begin comments, after a value where there is white space before them; quotes keep blanks, # and ; in a value. A repeated key is a list; a key that takes one value must not be given twice. An empty value takes a list's default away.

Unknown sections and keys are errors; with --lenient they are warnings.`,
    example: `[account]
acme-server = https://acme-v02.api.letsencrypt.org/directory
accept-terms-of-service = yes

[mgmt]
listener = 192.0.2.13:1313

[auth "web servers"]
ip = 192.0.2.0/24
domain = *.example.org`,
  },
  {
    title: 'LAYERS',
    text: `Defaults count less than files, in the order given, these less than the environment, this less than --set. A later layer replaces only the keys that it names, and a list as a whole.

max-size in [mgmt] is ACMEMS_MGMT_MAX_SIZE in the environment and --set mgmt.max-size=4k; ip in [auth "mail"] is ACMEMS_AUTH__MAIL__IP and --set auth.mail.ip=192.0.2.25. A list is one variable with blanks between, and a repeated --set.

Secrets can stand elsewhere: KEY-file names a file, and \${ENV:NAME} in a value is a variable.`,
  },
  {
    title: 'WHO MAY HAVE WHAT',
    text: `An [auth] section says who and what together. All its conditions must hold (of several ip one is enough), and it must cover every name of a request; the first section for which both is true decides how the certificate is had. A section that names nobody is an error; all = yes lets everybody in.

In domain, * is one label and ** any depth.`,
  },
]
