/** What `acmems-install --help` says, and its manual page. */
export const usage = `Usage: acmems-install --socket PATH CONFIG...
       acmems-install --check CONFIG...

Keeps the private keys of the [certificate] sections, and installs their certificates: the part of acmems that is root.
The server, which then needs not be root, gets requests from it, and hands it certificates; everything about them is
verified here, by the same configuration files. These must belong to root, and nobody else may write them.

Options:
  --socket PATH  where the server asks ([process] installer there), or fd:3; its folder's group is who may
                 (default: [process] installer of the configuration)
  --check        only say what would be looked after, and where it goes
  --set section.key=value
                 set one key, over files and environment; repeat it for more
  --lenient      unknown keys are warnings, as with acmems
  -h, --help     this text
  --version      the version

SIGTERM and SIGINT end it; SIGHUP reads the configuration again.

Examples:
  acmems-install --socket /run/acmems-install/S /etc/acmems/acmems.ini
  acmems-install --check /etc/acmems/acmems.ini

Exit codes: 0 done, 1 it failed, 2 it was called wrongly
`
