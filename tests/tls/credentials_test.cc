#include "tls/credentials.h"

#include <openssl/ssl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/catch.h"
#include "tls/ends.h"

namespace warren::test {
namespace {

using tls::Role;

bool has(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  return text.find(part) != std::string::npos;
}

// A file that goes away with it.
class Scratch {
 public:
  explicit Scratch(const std::string& content) {
    static int count = 0;
    path_ = (std::filesystem::temp_directory_path() /
             ("warren-" + std::to_string(getpid()) + "-" + std::to_string(count++) + ".pem"))
                .string();
    std::ofstream(path_) << content;
  }
  ~Scratch() { std::remove(path_.c_str()); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TlsOptions pairOf(PemList key, PemList cert) {
  TlsOptions options;
  options.key = std::move(key);
  options.cert = std::move(cert);
  return options;
}

// --- keys and certificates ---------------------------------------------------------------------

TEST_CASE("keys and certificates come as text, as bytes, from files and in one file") {
  const Identity& leaf = testLeaf();
  CHECK(shaken(pairOf(leaf.key, leaf.cert), clientOptions()).fine());
  CHECK(shaken(pairOf(leaf.key.c_str(), leaf.cert.c_str()), clientOptions()).fine());
  CHECK(shaken(pairOf(asBytes(leaf.key), asBytes(leaf.cert)), clientOptions()).fine());
  const Scratch key(leaf.key);
  const Scratch cert(leaf.cert);
  CHECK(shaken(pairOf(file(key.path()), file(cert.path())), clientOptions()).fine());
  const Scratch both("some words above\n" + leaf.key + "\n" + leaf.cert);
  CHECK(shaken(pairOf(file(both.path()), file(both.path())), clientOptions()).fine());
}

TEST_CASE("lines may end as on Windows") {
  const auto windows = [](const std::string& text) {
    std::string changed;
    for (const char letter : text)
      changed += letter == '\n' ? std::string("\r\n") : std::string(1, letter);
    return changed;
  };
  const Identity& leaf = testLeaf();
  CHECK(shaken(pairOf(windows(leaf.key), windows(leaf.cert)), clientOptions()).fine());
}

TEST_CASE("keys of every type serve") {
  for (const KeyType type : {KeyType::rsa, KeyType::p256, KeyType::p384, KeyType::ed25519}) {
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
      TlsOptions options = serverOptions(type);
      options.maxVersion = version;
      CHECK(shaken(options, clientOptions()).fine());
    }
  }
}

TEST_CASE("of several pairs, in any order, the client gets the first one it can verify") {
  const Identity& rsa = testLeaf(KeyType::rsa);
  const Identity& p256 = testLeaf(KeyType::p256);
  TlsOptions options = pairOf({p256.key, rsa.key}, {rsa.cert, p256.cert});
  const auto fingerprint = [](const Ends& both) {
    return both.client.session->peerCertificates().at(0).fingerprint;
  };
  const auto alone = [&](KeyType type) {
    return fingerprint(shaken(serverOptions(type), clientOptions()));
  };
  Ends both = shaken(options, clientOptions());
  REQUIRE(both.fine());
  CHECK(fingerprint(both) == alone(KeyType::p256));
  CHECK(both.server.session->certificate()->fingerprint == fingerprint(both));

  options.key = {rsa.key, p256.key};
  CHECK(fingerprint(shaken(options, clientOptions())) == alone(KeyType::rsa));

  // A client of TLS 1.2 that has no cipher for the first one.
  TlsOptions old = clientOptions();
  old.maxVersion = TlsVersion::tls12;
  old.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
  both = shaken(options, old);
  REQUIRE(both.fine());
  CHECK(fingerprint(both) == alone(KeyType::p256));
  old.ciphers = "ECDHE-RSA-AES128-GCM-SHA256";
  CHECK(fingerprint(shaken(options, old)) == alone(KeyType::rsa));
  // And a server that has none.
  old.ciphers.clear();
  options.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
  CHECK(fingerprint(shaken(options, old)) == alone(KeyType::p256));
}

TEST_CASE("a client of TLS 1.2 gets no pair on a curve that it does not know") {
  const Identity& rsa = testLeaf(KeyType::rsa);
  const Identity& p384 = testLeaf(KeyType::p384);
  const TlsOptions server = pairOf({p384.key, rsa.key}, {p384.cert, rsa.cert});
  TlsOptions client = clientOptions();
  client.maxVersion = TlsVersion::tls12;
  client.curves = {"X25519", "P-256"};
  Ends both = shaken(server, client);
  REQUIRE(both.fine());
  CHECK(both.client.session->cipher().find("ECDHE_RSA") != std::string::npos);
  client.curves = {"X25519", "P-384"};
  both = shaken(server, client);
  REQUIRE(both.fine());
  CHECK(both.client.session->cipher().find("ECDHE_ECDSA") != std::string::npos);
}

TEST_CASE("a chain is sent with its intermediates, in one text or several") {
  const Identity middle = issue(testAuthority(), {.subject = "middle", .authority = true});
  const Identity leaf = issue(middle, {.names = {"DNS:localhost"}});
  Ends both = shaken(pairOf(leaf.key, leaf.cert + middle.cert), clientOptions());
  REQUIRE(both.fine());
  CHECK(both.client.session->peerCertificates().size() == 2);
  CHECK(shaken(pairOf(leaf.key, {leaf.cert, middle.cert}), clientOptions()).fine());
}

TEST_CASE("an encrypted key opens with its passphrase") {
  const Identity& leaf = testLeaf();
  TlsOptions options = pairOf(encrypted(leaf.key, "open sesame"), leaf.cert);
  options.passphrase = "open sesame";
  CHECK(shaken(options, clientOptions()).fine());
  options.passphrase = "open barley";
  has(refused(options, Role::server, Usage::invalid),
      "options: key, block 1 (line 1) does not open with the passphrase");
  options.passphrase.clear();
  CHECK(refused(options, Role::server, Usage::missing) ==
        "options: key, block 1 (line 1) is encrypted, and there is no passphrase");
  options.passphrase = std::string(5000, 'x');
  refused(options, Role::server, Usage::invalid);
}

TEST_CASE("a passphrase that nothing needs does no harm") {
  TlsOptions options = serverOptions();
  options.passphrase = "unused";
  CHECK(shaken(options, clientOptions()).fine());
}

TEST_CASE("garbage is refused by option, block and line") {
  const Identity& leaf = testLeaf();
  const std::string broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const size_t lines = static_cast<size_t>(std::count(leaf.cert.begin(), leaf.cert.end(), '\n'));
  has(refused(pairOf(leaf.key, leaf.cert + broken), Role::server, Usage::invalid),
      "options: cert, block 2 (line " + std::to_string(lines + 1) +
          ") is no readable certificate: ");
  has(refused(pairOf("-----BEGIN PRIVATE KEY-----\n????\n-----END PRIVATE KEY-----\n", leaf.cert),
              Role::server, Usage::invalid),
      "key, block 1 (line 1) is no readable key");
  has(refused(pairOf("no PEM at all", leaf.cert), Role::server, Usage::invalid),
      "key has no PEM block for it");
  has(refused(pairOf(leaf.cert, leaf.cert), Role::server, Usage::invalid),
      "key has no PEM block for it");
  has(refused(pairOf("", leaf.cert), Role::server, Usage::invalid), "key has no PEM block");
  has(refused(pairOf(leaf.key.substr(0, leaf.key.size() - 10), leaf.cert), Role::server,
              Usage::invalid),
      "key, block 1 (line 1) has no END line");
  has(refused(pairOf(leaf.key, "\n-----BEGIN CERTIFICATE-----\n" + leaf.cert), Role::server,
              Usage::invalid),
      "cert, block 1 (line 2) has another BEGIN line in it");
  has(refused(pairOf(leaf.key, "-----BEGIN CERTIFICATE-----\n-----END X-----\n"), Role::server,
              Usage::invalid),
      "ends as something else");
}

TEST_CASE("an item of a list is named by its index, a file by its path") {
  const Identity& leaf = testLeaf();
  const Scratch bad("nothing");
  has(refused(pairOf(leaf.key, {leaf.cert, file(bad.path())}), Role::server, Usage::invalid),
      "cert[1] \"" + bad.path() + "\" has no PEM block");
}

TEST_CASE("a file that cannot be read is refused by path and reason") {
  const Identity& leaf = testLeaf();
  has(refused(pairOf(file("/no/such/key.pem"), leaf.cert), Role::server, Usage::invalid),
      "options: key \"/no/such/key.pem\" cannot be read: No such file or directory");
  has(refused(pairOf(file("/"), leaf.cert), Role::server, Usage::invalid),
      "key \"/\" cannot be read: Is a directory");
  has(refused(pairOf(file("/dev/zero"), leaf.cert), Role::server, Usage::tooMuch), "above 16 MiB");
}

TEST_CASE("a key needs its certificate, and a certificate its key") {
  const Identity& leaf = testLeaf();
  CHECK(refused(pairOf(leaf.key, {}), Role::client, Usage::missing) ==
        "options: cert is required with key");
  CHECK(refused(pairOf({}, leaf.cert), Role::client, Usage::missing) ==
        "options: key is required with cert");
  CHECK(refused({}, Role::server, Usage::missing) ==
        "options: key and cert are required to listen");
  CHECK(clientCredentials({}) != nullptr);
}

TEST_CASE("lists that are given but empty are refused") {
  const std::vector<Pem> none;
  TlsOptions options = serverOptions();
  options.ca = PemList(none);
  CHECK(refused(options, Role::server, Usage::missing) == "options: ca is an empty list");
  options = serverOptions();
  options.crl = PemList(none);
  CHECK(refused(options, Role::server, Usage::missing) == "options: crl is an empty list");
  has(refused(pairOf(PemList(none), PemList(none)), Role::server, Usage::missing),
      "key is an empty list");
}

TEST_CASE("keys and certificates that do not belong together are refused") {
  const Identity& p256 = testLeaf(KeyType::p256);
  const Identity& rsa = testLeaf(KeyType::rsa);
  const Identity other = issue(testAuthority(), {});
  has(refused(pairOf(other.key, p256.cert), Role::server, Usage::conflict), "matches no key");
  has(refused(pairOf({p256.key, rsa.key}, p256.cert), Role::server, Usage::conflict),
      "key[1], block 1 (line 1) matches no certificate");
  has(refused(pairOf({p256.key, other.key}, {p256.cert, other.cert}), Role::server,
              Usage::conflict),
      "key[1], block 1 (line 1) is a second key of type P-256");
  has(refused(pairOf(p256.key, {p256.cert, p256.cert}), Role::server, Usage::conflict),
      "is a second certificate for key");
}

TEST_CASE("ca and crl are refused when they are garbage") {
  TlsOptions options = clientOptions();
  options.ca = "nothing";
  has(refused(options, Role::client, Usage::invalid), "ca has no PEM block");
  options = clientOptions();
  options.crl = testLeaf().cert;
  has(refused(options, Role::client, Usage::invalid), "crl has no PEM block");
  options.crl = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
  has(refused(options, Role::client, Usage::invalid),
      "crl, block 1 (line 1) is no readable revocation list");
}

// --- the other options -------------------------------------------------------------------------

TEST_CASE("versions are limited on both sides") {
  TlsOptions server = serverOptions();
  TlsOptions client = clientOptions();
  server.maxVersion = TlsVersion::tls12;
  CHECK(shaken(server, client).client.session->version() == TlsVersion::tls12);
  client.minVersion = TlsVersion::tls13;
  Ends both = shaken(server, client);
  CHECK(both.server.errorName() == "ERR_SSL_UNSUPPORTED_PROTOCOL");
  CHECK(both.client.errorName() == "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
}

TEST_CASE("versions that cannot be are refused") {
  TlsOptions options = clientOptions();
  options.minVersion = TlsVersion::tls13;
  options.maxVersion = TlsVersion::tls12;
  CHECK(refused(options, Role::client, Usage::conflict) ==
        "options: minVersion is above maxVersion");
  options.minVersion = TlsVersion::unknown;
  has(refused(options, Role::client, Usage::invalid), "minVersion");
  options.minVersion = TlsVersion::tls12;
  options.maxVersion = static_cast<TlsVersion>(0x0302);
  has(refused(options, Role::client, Usage::invalid), "maxVersion");
}

TEST_CASE("ciphers decide in TLS 1.2") {
  TlsOptions server = serverOptions();
  server.maxVersion = TlsVersion::tls12;
  server.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
  Ends both = shaken(server, clientOptions());
  REQUIRE(both.fine());
  CHECK(both.client.session->cipher() == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
  TlsOptions client = clientOptions();
  client.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
  both = shaken(server, client);
  CHECK(both.server.errorName() == "ERR_SSL_NO_SHARED_CIPHER");
  CHECK(both.client.failed);
}

TEST_CASE("which cipher is the best is for the server to say, also by default") {
  const auto agreed = [](const std::string& ciphers) {
    TlsOptions client = clientOptions();
    client.maxVersion = TlsVersion::tls12;
    client.ciphers = ciphers;
    return shaken(serverOptions(), client).server.session->cipher();
  };
  const std::string cbc = "ECDHE-ECDSA-AES128-SHA";
  const std::string gcm = "ECDHE-ECDSA-AES128-GCM-SHA256";
  CHECK(agreed(cbc) == "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA");
  CHECK(agreed(cbc + ":" + gcm) == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
}

TEST_CASE("a key that is stolen later opens nothing, unless somebody asks for such ciphers") {
  const auto agree = [](const std::string& servers, const std::string& clients) {
    TlsOptions server = serverOptions(KeyType::rsa);
    TlsOptions client = clientOptions();
    client.maxVersion = TlsVersion::tls12;
    server.ciphers = servers;
    client.ciphers = clients;
    return shaken(server, client).fine();
  };
  const std::string keyExchangeByRsa = "AES128-GCM-SHA256:AES128-SHA";
  CHECK(agree("", ""));
  CHECK(agree(keyExchangeByRsa, keyExchangeByRsa));
  CHECK_FALSE(agree("", keyExchangeByRsa));
  CHECK_FALSE(agree(keyExchangeByRsa, ""));
}

TEST_CASE("unknown ciphers are refused, also behind known ones") {
  TlsOptions options = clientOptions();
  options.ciphers = "ECDHE-RSA-AES128-GCM-SHA256:NOT-A-CIPHER";
  has(refused(options, Role::client, Usage::invalid),
      "ciphers \"ECDHE-RSA-AES128-GCM-SHA256:NOT-A-CIPHER\": ");
  options.ciphers = "TLS_AES_128_GCM_SHA256";
  has(refused(options, Role::client, Usage::invalid), "those of TLS 1.3 are fixed");
  options.ciphers = std::string("ECDHE-RSA-AES128-GCM-SHA256\0X", 29);
  refused(options, Role::client, Usage::invalid);
}

TEST_CASE("curves decide on the key exchange") {
  TlsOptions server = serverOptions();
  server.curves = {"P-384", "X25519"};
  CHECK(shaken(server, clientOptions()).client.session->keyExchange() == "P-384");
  TlsOptions client = clientOptions();
  client.curves = {"P-256"};
  Ends both = shaken(server, client);
  CHECK(both.server.failed);
  CHECK(both.client.failed);
}

TEST_CASE("unknown curves are refused by name") {
  TlsOptions options = clientOptions();
  options.curves = {"X25519", "P-999"};
  has(refused(options, Role::client, Usage::invalid), "\"P-999\"");
  options.curves = {"X25519:P-256"};
  refused(options, Role::client, Usage::invalid);
  options.curves = {""};
  refused(options, Role::client, Usage::invalid);
}

TEST_CASE("application protocols are agreed on, as the server prefers") {
  TlsOptions server = serverOptions();
  TlsOptions client = clientOptions();
  server.alpn = {"h2", "http/1.1"};
  client.alpn = {"http/1.1", "h2"};
  Ends both = shaken(server, client);
  REQUIRE(both.fine());
  CHECK(both.client.session->alpnProtocol() == "h2");
  CHECK(both.server.session->alpnProtocol() == "h2");
  client.alpn = {"http/1.1"};
  CHECK(shaken(server, client).server.session->alpnProtocol() == "http/1.1");
  client.alpn = {};
  both = shaken(server, client);
  CHECK(both.fine());
  CHECK(both.server.session->alpnProtocol().empty());
}

TEST_CASE("no application protocol in common is fatal, and both ends say so") {
  TlsOptions server = serverOptions();
  TlsOptions client = clientOptions();
  server.alpn = {"h2"};
  client.alpn = {"spdy/3"};
  Ends both = shaken(server, client);
  CHECK(both.server.errorName() == "ERR_SSL_NO_APPLICATION_PROTOCOL");
  CHECK(both.client.errorName() == "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL");
  // A server that knows of none does not mind.
  server.alpn = {};
  both = shaken(server, client);
  CHECK(both.fine());
  CHECK(both.client.session->alpnProtocol().empty());
}

TEST_CASE("application protocols of no or too many bytes are refused") {
  TlsOptions options = clientOptions();
  options.alpn = {"h2", ""};
  CHECK(refused(options, Role::client, Usage::outOfRange) ==
        "options: alpn[1] of 0 bytes is outside 1..255");
  options.alpn = {std::string(256, 'a')};
  refused(options, Role::client, Usage::outOfRange);
  options.alpn = {std::string(255, 'a')};
  CHECK(clientCredentials(options) != nullptr);
  options.alpn.assign(300, std::string(255, 'a'));
  refused(options, Role::client, Usage::tooMuch);
}

TEST_CASE("sizes and times outside their limits are refused") {
  TlsOptions options = clientOptions();
  for (const size_t size : {size_t{511}, size_t{16385}, size_t{0}}) {
    options.maxSendFragment = size;
    has(refused(options, Role::client, Usage::outOfRange), "maxSendFragment");
  }
  options = clientOptions();
  for (const size_t size : {size_t{0}, size_t{16383}, size_t{16} << 20}) {
    options.maxCertificateChain = size;
    has(refused(options, Role::client, Usage::outOfRange), "maxCertificateChain");
  }
  options = clientOptions();
  options.handshakeTimeout = std::chrono::seconds(-1);
  has(refused(options, Role::client, Usage::outOfRange), "handshakeTimeout");
  options = clientOptions();
  options.serverName = std::string("a\0b", 3);
  has(refused(options, Role::client, Usage::invalid), "serverName");
}

TEST_CASE("a certificate chain above the limit is refused") {
  CertificateSpec spec{.names = {"DNS:localhost"}};
  for (int index = 0; index < 1000; ++index) {
    spec.names.push_back("DNS:host-number-" + std::to_string(index) + ".example.com");
  }
  const Identity large = issue(testAuthority(), spec);
  TlsOptions options = clientOptions();
  options.maxCertificateChain = 20000;
  Ends both = shaken(pairOf(large.key, large.cert), options);
  REQUIRE(both.client.failed);
  CHECK(both.client.errorName() == "ERR_SSL_EXCESSIVE_MESSAGE_SIZE");
  options.maxCertificateChain = 50000;
  CHECK(shaken(pairOf(large.key, large.cert), options).fine());
}

TEST_CASE("the key log gets the lines of both ends, with the same secrets") {
  std::string ofServer;
  std::string ofClient;
  TlsOptions server = serverOptions();
  TlsOptions client = clientOptions();
  server.keylog = [&ofServer](std::string_view line) { ofServer += std::string(line) + "\n"; };
  client.keylog = [&ofClient](std::string_view line) { ofClient += std::string(line) + "\n"; };
  REQUIRE(shaken(server, client).fine());
  CHECK(has(ofClient, "CLIENT_TRAFFIC_SECRET_0 "));
  const std::string line = ofClient.substr(0, ofClient.find('\n'));
  CHECK(has(ofServer, line));
}

// What a server staples for a client that wants `algorithm` and asks for it.
std::string stapled(const TlsOptions& options, uint16_t algorithm) {
  Ends both = ends(options, clientOptions());
  // warren's client does not ask, so a bare one does.
  const bssl::UniquePtr<SSL_CTX> context(SSL_CTX_new(TLS_method()));
  const bssl::UniquePtr<SSL> ssl(SSL_new(context.get()));
  BIO* const in = BIO_new(BIO_s_mem());
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), in, out);
  SSL_set_connect_state(ssl.get());
  SSL_enable_ocsp_stapling(ssl.get());
  SSL_set_verify_algorithm_prefs(ssl.get(), &algorithm, 1);
  SSL_do_handshake(ssl.get());
  const uint8_t* hello = nullptr;
  size_t size = 0;
  BIO_mem_contents(out, &hello, &size);
  both.server.feed({reinterpret_cast<const char*>(hello), size});
  const std::string flight = both.server.take();
  BIO_write(in, flight.data(), static_cast<int>(flight.size()));
  REQUIRE(SSL_do_handshake(ssl.get()) == 1);
  const uint8_t* response = nullptr;
  SSL_get0_ocsp_response(ssl.get(), &response, &size);
  return {reinterpret_cast<const char*>(response), size};
}

TEST_CASE("an OCSP response is stapled to the first pair, whose it is") {
  const Identity& rsa = testLeaf(KeyType::rsa);
  const Identity& p256 = testLeaf(KeyType::p256);
  TlsOptions options = pairOf({p256.key, rsa.key}, {p256.cert, rsa.cert});
  options.ocspResponse = "not really DER";
  CHECK(stapled(options, SSL_SIGN_ECDSA_SECP256R1_SHA256) == "not really DER");
  CHECK(stapled(options, SSL_SIGN_RSA_PSS_RSAE_SHA256).empty());
}

// --- names of a server -------------------------------------------------------------------------

TEST_CASE("the name decides on the credentials: exact, then wildcard, then the fallback") {
  const auto credentials = [] { return serverCredentials(serverOptions()); };
  tls::ServerPolicy policy;
  policy.fallback = credentials();
  policy.named = {{"*.example.com", credentials()},
                  {"a.example.com", credentials()},
                  {"localhost", credentials()}};
  const auto chosen = [&policy](const char* name) { return policy.choose(name).get(); };
  const tls::Credentials* const wildcard = policy.named[0].credentials.get();
  CHECK(chosen("a.example.com") == policy.named[1].credentials.get());
  CHECK(chosen("A.Example.COM") == policy.named[1].credentials.get());
  CHECK(chosen("a.example.com.") == policy.named[1].credentials.get());
  CHECK(chosen("b.example.com") == wildcard);
  CHECK(chosen("localhost") == policy.named[2].credentials.get());
  for (const char* const name :
       {"", "example.com", "x.b.example.com", ".example.com", "example.org", "*", ".", "com"}) {
    CHECK(chosen(name) == policy.fallback.get());
  }
}

struct Named {
  const char* host;
  const char* subject;
};

TEST_CASE("each name gets its certificate, and everything that goes with it") {
  const auto identity = [](const char* name) {
    return issue(testAuthority(), {.subject = name, .names = {std::string("DNS:") + name}});
  };
  const auto optionsOf = [](const Identity& of) { return pairOf(of.key, of.cert); };
  TlsOptions strict = optionsOf(identity("strict.example.com"));
  strict.requestCert = true;
  strict.ca = testAuthority().cert;
  strict.alpn = {"strict"};
  strict.maxVersion = TlsVersion::tls12;
  strict.curves = {"P-384"};
  TlsOptions loose = optionsOf(identity("loose.example.com"));
  loose.alpn = {"loose"};
  TlsOptions fallback = optionsOf(identity("fallback.example.com"));
  fallback.alpn = {"fallback"};
  fallback.curves = {"P-256"};
  auto policy = std::make_shared<tls::ServerPolicy>();
  policy->fallback = serverCredentials(fallback);
  policy->named = {{"strict.example.com", serverCredentials(strict)},
                   {"loose.example.com", serverCredentials(loose)}};

  TlsOptions client = clientOptions();
  client.alpn = {"strict", "loose", "fallback"};
  const auto to = [&](const std::string& host, const TlsOptions& options) {
    Ends both = connected(policy, clientCredentials(options), host);
    both.run();
    return both;
  };
  Ends both = to("loose.example.com", client);
  REQUIRE(both.fine());
  CHECK(both.client.session->alpnProtocol() == "loose");
  CHECK(both.client.session->keyExchange() == "X25519");
  CHECK(both.server.session->certificate()->subject == "CN=loose.example.com");

  both = to("strict.example.com", client);
  CHECK(both.server.errorName() == "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
  TlsOptions showing = client;
  showing.key = testLeaf().key;
  showing.cert = testLeaf().cert;
  both = to("strict.example.com", showing);
  REQUIRE(both.fine());
  CHECK(both.client.session->alpnProtocol() == "strict");
  CHECK(both.client.session->version() == TlsVersion::tls12);
  CHECK(both.client.session->keyExchange() == "P-384");
  CHECK(both.server.session->authorized());

  both = to("fallback.example.com", client);
  REQUIRE(both.fine());
  CHECK(both.client.session->alpnProtocol() == "fallback");
  CHECK(both.client.session->keyExchange() == "P-256");
  // By address there is no name, so the fallback answers: with another certificate than expected. Only
  // without the name that insists on certificates, or there would be a way around it.
  std::erase_if(policy->named, [](const auto& one) { return one.name == "strict.example.com"; });
  both = to("127.0.0.1", client);
  CHECK(both.client.errorName() == "ERR_TLS_CERT_ALTNAME_INVALID");
  CHECK(both.server.session->certificate()->subject == "CN=fallback.example.com");
}

TEST_CASE("a fallback that asks for certificates does not make other names ask") {
  TlsOptions strict = serverOptions();
  strict.requestCert = true;
  strict.ca = testAuthority().cert;
  auto policy = std::make_shared<tls::ServerPolicy>();
  policy->fallback = serverCredentials(strict);
  policy->named = {{"www.example.com", serverCredentials(serverOptions())}};
  Ends both = connected(policy, clientCredentials(clientOptions()), "www.example.com");
  both.run();
  CHECK(both.fine());
  both = connected(policy, clientCredentials(clientOptions()), "localhost");
  both.run();
  CHECK(both.server.failed);
}

}  // namespace
}  // namespace warren::test
