# Makes, in the current folder, PEM files of an authority and what it signed. $1: key password.
#   ca.pem                 the authority            other-ca.pem  an authority nobody trusts
#   server.pem             localhost, 127.0.0.1, ::1
#   wrong-host.pem         another host name        revoked.pem   as server.pem, but in crl.pem
#   client.pem             CN=client,OU=users,O=Kit
#   client-encrypted.pem   the same with an encrypted PKCS#8 key
set -eu
exec 3>&2 2>openssl.log
trap '[ $? = 0 ] || tail -n 5 openssl.log >&3' EXIT

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -keyout "$1.key" -out "$1.pem" -subj "/CN=$2/O=Kit" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

# leaf NAME SUBJECT EXTENSIONS
leaf() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -keyout "$1.key" -out "$1.csr" -subj "$2"
    openssl ca -batch -notext -config ca.cnf -extensions "$3" -in "$1.csr" -out "$1.crt"
    cat "$1.key" "$1.crt" >"$1.pem"
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
leaf client "/CN=client/OU=users/O=Kit" client
openssl ca -config ca.cnf -revoke revoked.crt
openssl ca -config ca.cnf -gencrl -out crl.pem
openssl pkcs8 -topk8 -in client.key -passout "pass:$1" -v2 aes-256-cbc -out client-encrypted.key
cat client-encrypted.key client.crt >client-encrypted.pem
