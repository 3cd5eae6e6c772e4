#!/usr/bin/env bash
# Makes the certificates that the tests of `tls` use. They protect nothing. Valid for 100 years.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
days=36500

ca() { # name
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days $days \
        -subj "/O=mongo-client test/CN=$1" -keyout "$work/$1.key" -out "$1.pem" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

leaf() { # name, authority, extended key usage, subject alternative names
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -subj "/O=mongo-client test/CN=$1" -keyout "$work/$1.key" -out "$work/$1.csr"
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$3" "$4" \
        > "$work/$1.ext"
    openssl x509 -req -in "$work/$1.csr" -CA "$2.pem" -CAkey "$work/$2.key" -CAcreateserial \
        -CAserial "$work/$2.srl" -days $days -extfile "$work/$1.ext" -out "$work/$1.crt"
    cat "$work/$1.crt" "$work/$1.key" > "$1.pem"
}

ca ca
ca other-ca
leaf server ca serverAuth DNS:localhost,IP:127.0.0.1,IP:::1
leaf other-host ca serverAuth DNS:elsewhere.test
leaf revoked ca serverAuth DNS:localhost
leaf client ca clientAuth DNS:client.test

# The client's key in every form.
cp "$work/client.crt" client-cert.pem
openssl pkcs8 -topk8 -in "$work/client.key" -v2 aes-256-cbc -passout pass:open-sesame \
    -iter 2048 -out client-key-encrypted.pem
# Older versions of OpenSSL derive with SHA-1.
openssl pkcs8 -topk8 -in "$work/client.key" -v2 aes-128-cbc -v2prf hmacWithSHA1 \
    -passout pass:open-sesame -iter 2048 -out client-key-encrypted-sha1.pem
openssl ec -in "$work/client.key" -out client-key-sec1.pem
openssl ec -in "$work/client.key" -aes128 -passout pass:open-sesame -out client-key-legacy.pem

# A second client with an RSA key, in PKCS#1.
openssl req -newkey rsa:2048 -nodes -subj "/CN=client-rsa" -keyout "$work/rsa.key" \
    -out "$work/rsa.csr"
openssl x509 -req -in "$work/rsa.csr" -CA ca.pem -CAkey "$work/ca.key" -CAserial "$work/ca.srl" \
    -days $days -extfile "$work/client.ext" -out "$work/rsa.crt"
{ openssl rsa -in "$work/rsa.key" -traditional; cat "$work/rsa.crt"; } > client-rsa-pkcs1.pem

# A revocation list with `revoked` on it, and one that ended long ago.
touch "$work/index.txt"
echo 01 > "$work/crlnumber"
cat > "$work/ca.cnf" <<CNF
[ca]
default_ca = test
[test]
database = $work/index.txt
crlnumber = $work/crlnumber
default_md = sha256
certificate = ca.pem
private_key = $work/ca.key
CNF
openssl ca -config "$work/ca.cnf" -revoke "$work/revoked.crt"
openssl ca -config "$work/ca.cnf" -gencrl -crldays $days -out crl.pem
openssl ca -config "$work/ca.cnf" -gencrl -crl_lastupdate 20200101000000Z \
    -crl_nextupdate 20200201000000Z -out crl-expired.pem
chmod 644 ./*.pem
