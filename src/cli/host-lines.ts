/**
 * What a host runs to get a certificate: the five lines of the README, which the demo runs as they stand there.
 * The first sets two variables; the demo puts its own values into them.
 */
export const hostLines: readonly string[] = [
  'ACMEMS=http://acmems.example.org:1313 HOST=www.example.org',
  'openssl ecparam -name prime256v1 -genkey -noout -out $HOST.key',
  'openssl req -new -sha256 -key $HOST.key -subj / -addext subjectAltName=DNS:$HOST -out $HOST.csr',
  'curl -sS --data-binary @$HOST.csr --fail-with-body -o $HOST.new $ACMEMS/sign || { cat $HOST.new; exit 1; }',
  'mv $HOST.new $HOST.pem',
]
