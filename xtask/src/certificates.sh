# Makes, in the current folder, PEM files of an authority and what it signed. $1: key password.
#   ca.pem                 the authority            other-ca.pem  an authority nobody trusts
#   server.pem             localhost, 127.0.0.1, ::1
#   wrong-host.pem         another host name        revoked.pem   as server.pem, but in crl.pem
#   client.pem             CN=client,OU=users,O=Kit
#   client-encrypted.pem   the same with an encrypted PKCS#8 key
#   expired.pem, future.pem  as server.pem, but valid in the past and in the far future only
#   client-rsa.pem, client-pkcs1.pem, client-sec1.pem  as client.pem: an RSA key as PKCS#8 and as
#                          PKCS#1, and an EC key as SEC1
#   client-legacy.pem      as client-pkcs1.pem with OpenSSL's old encryption
#   stranger.pem           CN=stranger,OU=users,O=Kit, nobody's user
#   revoked-client.pem     as client.pem, but in crl.pem
#   crl-expired.pem        an empty list that was to be renewed years ago
set -eu
exec 3>&2 2>openssl.log
trap '[ $? = 0 ] || tail -n 5 openssl.log >&3' EXIT

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -keyout "$1.key" -out "$1.pem" -subj "/CN=$2/O=Kit" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# leaf NAME SUBJECT EXTENSIONS [OPTION..]
leaf() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -keyout "$1.key" -out "$1.csr" -subj "$2"
    sign "$@"
}

# sign NAME SUBJECT EXTENSIONS [OPTION..]: the certificate of NAME.csr, in one file with NAME.key.
sign() {
    name=$1 extensions=$3
    shift 3
    openssl ca -batch -notext -config ca.cnf -extensions "$extensions" "$@" \
        -in "$name.csr" -out "$name.crt"
    cat "$name.key" "$name.crt" >"$name.pem"
}

cat >ca.cnf <<'CNF'
[ca]
default_ca = kit
[kit]
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 3650
default_crl_days = 3650
policy = policy
unique_subject = no
[policy]
CN = supplied
OU = optional
O = optional
[server]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:localhost,IP:127.0.0.1,IP:::1
[wrong]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:elsewhere.example
[client]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = clientAuth
CNF
: >index.txt
echo 1000 >serial
echo 1000 >crlnumber

authority ca "Kit CA"
authority other-ca "Other CA"
leaf server "/CN=localhost/OU=servers/O=KitServers" server
leaf revoked "/CN=localhost/OU=servers/O=KitServers" server
leaf wrong-host "/CN=elsewhere.example/OU=servers/O=KitServers" wrong
leaf expired "/CN=localhost/OU=servers/O=KitServers" server \
    -startdate 20200101000000Z -enddate 20210101000000Z
leaf future "/CN=localhost/OU=servers/O=KitServers" server \
    -startdate 20900101000000Z -enddate 20910101000000Z
leaf client "/CN=client/OU=users/O=Kit" client
leaf stranger "/CN=stranger/OU=users/O=Kit" client
leaf revoked-client "/CN=client/OU=users/O=Kit" client
openssl ca -config ca.cnf -gencrl -crl_lastupdate 20200101000000Z \
    -crl_nextupdate 20200201000000Z -out crl-expired.pem
openssl ca -config ca.cnf -revoke revoked.crt
openssl ca -config ca.cnf -revoke revoked-client.crt
openssl ca -config ca.cnf -gencrl -out crl.pem
openssl pkcs8 -topk8 -in client.key -passout "pass:$1" -v2 aes-256-cbc -out client-encrypted.key
cat client-encrypted.key client.crt >client-encrypted.pem

# The same subject with keys of other kinds and forms.
openssl req -newkey rsa:2048 -nodes -keyout client-rsa.key -out client-rsa.csr \
    -subj "/CN=client/OU=users/O=Kit"
sign client-rsa "" client
openssl rsa -in client-rsa.key -traditional -out client-pkcs1.key
openssl rsa -in client-rsa.key -traditional -aes128 -passout "pass:$1" -out client-legacy.key
openssl ec -in client.key -out client-sec1.key
cat client-pkcs1.key client-rsa.crt >client-pkcs1.pem
cat client-legacy.key client-rsa.crt >client-legacy.pem
cat client-sec1.key client.crt >client-sec1.pem
