#include "tls/verify.h"

#include <string>

#include "support/catch.h"
#include "tls/ends.h"

namespace warren::test {
namespace {

using tls::canonicalHost;
using tls::isAddress;

TlsOptions serving(const Identity& identity) {
  TlsOptions options;
  options.key = identity.key;
  options.cert = identity.cert;
  return options;
}

TlsOptions trusting(const Identity& authority) {
  TlsOptions options;
  options.ca = authority.cert;
  return options;
}

// The name of what a client finds wrong, and that the server hears of it.
std::string failureOf(const TlsOptions& server, const TlsOptions& client,
                      const std::string& host = "localhost") {
  Ends both = shaken(server, client, host);
  REQUIRE(both.client.failed);
  CHECK(both.client.readies == 0);
  CHECK(both.client.session->error().origin() == Origin::tls);
  CHECK(both.client.session->error().step() == Step::handshake);
  CHECK_FALSE(both.client.session->authorized());
  CHECK(both.server.failed);
  CHECK(both.server.errorName().find("ALERT") != std::string::npos);
  return both.client.errorName();
}

// Whether a certificate with these names is good for a host.
bool goodFor(const std::vector<std::string>& names, const std::string& host) {
  const Identity leaf = issue(testAuthority(), {.subject = "localhost", .names = names});
  Ends both = shaken(serving(leaf), clientOptions(), host);
  if (both.client.failed) CHECK(both.client.errorName() == "ERR_TLS_CERT_ALTNAME_INVALID");
  return both.fine();
}

TEST_CASE("names are verified against the subject alternative names, and only those") {
  CHECK(goodFor({"DNS:a.example.com"}, "a.example.com"));
  CHECK(goodFor({"DNS:A.Example.com"}, "a.eXample.COM"));
  CHECK(goodFor({"DNS:a.example.com"}, "a.example.com."));
  CHECK_FALSE(goodFor({"DNS:a.example.com"}, "b.example.com"));
  CHECK_FALSE(goodFor({"DNS:a.example.com"}, "example.com"));
  CHECK_FALSE(goodFor({"DNS:a.example.com"}, "x.a.example.com"));
  CHECK_FALSE(goodFor({"DNS:elsewhere"}, "localhost"));
  CHECK_FALSE(goodFor({}, "localhost"));  // its common name
}

TEST_CASE("a wildcard covers one whole label, the first") {
  CHECK(goodFor({"DNS:*.example.com"}, "a.example.com"));
  CHECK_FALSE(goodFor({"DNS:*.example.com"}, "example.com"));
  CHECK_FALSE(goodFor({"DNS:*.example.com"}, "a.b.example.com"));
  CHECK_FALSE(goodFor({"DNS:a*.example.com"}, "ab.example.com"));
  CHECK_FALSE(goodFor({"DNS:a.*.com"}, "a.example.com"));
  CHECK_FALSE(goodFor({"DNS:*"}, "localhost"));
}

TEST_CASE("addresses are verified against entries for addresses") {
  CHECK(goodFor({"IP:127.0.0.1"}, "127.0.0.1"));
  CHECK(goodFor({"IP:::1"}, "::1"));
  CHECK(goodFor({"IP:fe80::1"}, "fe80::1%eth0"));
  CHECK_FALSE(goodFor({"IP:127.0.0.1"}, "127.0.0.2"));
  CHECK_FALSE(goodFor({"DNS:127.0.0.1"}, "127.0.0.1"));
  CHECK_FALSE(goodFor({"IP:127.0.0.1"}, "::1"));
}

TEST_CASE("addresses are not asked for by SNI") {
  Ends both = shaken(serverOptions(), clientOptions(), "127.0.0.1");
  REQUIRE(both.fine());
  CHECK(both.server.session->serverName().empty());
  CHECK(both.client.session->serverName().empty());
  CHECK(both.client.session->authorized());
}

TEST_CASE("serverName takes the place of the dialed host, in SNI and in verification") {
  TlsOptions options = clientOptions();
  options.serverName = "www.example.com";
  Ends both = shaken(serverOptions(), options, "10.1.2.3");
  REQUIRE(both.fine());
  CHECK(both.server.session->serverName() == "www.example.com");
  options.serverName = "www.example.org";
  CHECK(failureOf(serverOptions(), options) == "ERR_TLS_CERT_ALTNAME_INVALID");
}

TEST_CASE("without any host there is nobody to verify, which is refused") {
  tls::Transport transport;
  TlsOptions options = clientOptions();
  const auto none = tls::Session::client(clientCredentials(options), "", transport);
  REQUIRE_FALSE(none);
  CHECK(none.error().is(Usage::missing));
  options.rejectUnauthorized = false;
  Ends both = shaken(serverOptions(), options, "");
  CHECK(both.fine());
  // Whoever has a certificate for any name would pass.
  CHECK_FALSE(both.client.session->authorized());
  CHECK(both.client.session->authorizationError().name() == "ERR_TLS_CERT_ALTNAME_INVALID");
}

TEST_CASE("a host that cannot be asked for is refused") {
  tls::Transport transport;
  const auto credentials = clientCredentials(clientOptions());
  CHECK_FALSE(tls::Session::client(credentials, std::string("a\0b", 3), transport));
  CHECK_FALSE(tls::Session::client(credentials, std::string(256, 'a'), transport));
}

TEST_CASE("the message about a wrong name says whose certificate it is") {
  Ends both = shaken(serverOptions(), clientOptions(), "example.org");
  REQUIRE(both.client.failed);
  const std::string message = both.client.session->error().message();
  CHECK(message.find("CN=leaf") != std::string::npos);
  CHECK(message.find("DNS:localhost") != std::string::npos);
  CHECK(message.find("ERR_TLS_CERT_ALTNAME_INVALID") != std::string::npos);
}

TEST_CASE("certificates that do not verify fail by the names of OpenSSL") {
  const Identity alone = selfSigned({.names = {"DNS:localhost"}});
  CHECK(failureOf(serving(alone), clientOptions()) == "DEPTH_ZERO_SELF_SIGNED_CERT");

  const Identity stranger = selfSigned({.subject = "stranger", .authority = true});
  const Identity orphan = issue(stranger, {.names = {"DNS:localhost"}});
  CHECK(failureOf(serving(orphan), clientOptions()) == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");

  TlsOptions whole = serving(orphan);
  whole.cert = orphan.cert + stranger.cert;
  CHECK(failureOf(whole, clientOptions()) == "SELF_SIGNED_CERT_IN_CHAIN");

  const Identity middle = issue(stranger, {.subject = "middle", .authority = true});
  const Identity leaf = issue(middle, {.names = {"DNS:localhost"}});
  whole = serving(leaf);
  whole.cert = leaf.cert + middle.cert;
  CHECK(failureOf(whole, clientOptions()) == "UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
  CHECK(shaken(whole, trusting(stranger)).fine());

  const Identity expired =
      issue(testAuthority(), {.names = {"DNS:localhost"}, .startDays = -9, .endDays = -2});
  CHECK(failureOf(serving(expired), clientOptions()) == "CERT_HAS_EXPIRED");
  const Identity early =
      issue(testAuthority(), {.names = {"DNS:localhost"}, .startDays = 2, .endDays = 9});
  CHECK(failureOf(serving(early), clientOptions()) == "CERT_NOT_YET_VALID");
}

TEST_CASE("keys and signatures that can be forged fail by the names of OpenSSL") {
  const auto served = [](const Identity& authority, CertificateSpec spec) {
    spec.names = {"DNS:localhost"};
    return serving(issue(authority, spec));
  };
  const TlsOptions weak = served(testAuthority(), {.sha1 = true});
  CHECK(failureOf(weak, clientOptions()) == "CA_MD_TOO_WEAK");
  const TlsOptions small = served(testAuthority(), {.type = KeyType::rsa, .rsaBits = 1024});
  CHECK(failureOf(small, clientOptions()) == "EE_KEY_TOO_SMALL");
  const Identity old =
      selfSigned({.subject = "old", .type = KeyType::rsa, .rsaBits = 1024, .authority = true});
  CHECK(failureOf(served(old, {}), trusting(old)) == "CA_KEY_TOO_SMALL");

  // One that is trusted as it is needs no signature.
  const Identity root = selfSigned({.subject = "root", .sha1 = true, .authority = true});
  CHECK(shaken(served(root, {}), trusting(root)).fine());

  TlsOptions lenient = clientOptions();
  lenient.rejectUnauthorized = false;
  const Ends both = shaken(weak, lenient);
  REQUIRE(both.fine());
  CHECK_FALSE(both.client.session->authorized());
  CHECK(both.client.session->authorizationError().message().find("SHA-1") != std::string::npos);
}

TEST_CASE("ca takes the place of the system's roots, and may name several") {
  const Identity other = selfSigned({.subject = "other", .authority = true});
  TlsOptions options = trusting(other);
  CHECK(failureOf(serverOptions(), options) == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
  options.ca = {other.cert, testAuthority().cert};
  CHECK(shaken(serverOptions(), options).fine());
  options.ca = other.cert + testAuthority().cert;
  CHECK(shaken(serverOptions(), options).fine());
  // Without it the system's count, which do not know our authority.
  options.ca = {};
  const std::string name = failureOf(serverOptions(), options);
  CHECK(name == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
}

TEST_CASE("a certificate that ca names is trusted as it is, self-signed or not") {
  const Identity alone = selfSigned({.names = {"DNS:localhost"}});
  CHECK(shaken(serving(alone), trusting(alone)).fine());
  CHECK(shaken(serverOptions(), trusting(testLeaf())).fine());
  const Identity sister = issue(testAuthority(), {.names = {"DNS:localhost"}});
  CHECK(failureOf(serverOptions(), trusting(sister)) == "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
}

TEST_CASE("a revoked certificate fails, another one of the same authority does not") {
  const Identity revoked = issue(testAuthority(), {.names = {"DNS:localhost"}});
  TlsOptions options = clientOptions();
  options.crl = revocationList(testAuthority(), {revoked.cert});
  CHECK(failureOf(serving(revoked), options) == "CERT_REVOKED");
  CHECK(shaken(serverOptions(), options).fine());
  options.crl = revocationList(testAuthority(), {});
  CHECK(shaken(serving(revoked), options).fine());
  // A list of somebody else says nothing about it, so it cannot be known.
  const Identity other = selfSigned({.subject = "other", .authority = true});
  options.crl = revocationList(other, {});
  CHECK(failureOf(serverOptions(), options) == "UNABLE_TO_GET_CRL");
}

TEST_CASE("a revoked intermediate fails too, and every authority of a chain needs its list") {
  const Identity middle = issue(testAuthority(), {.subject = "middle", .authority = true});
  const Identity leaf = issue(middle, {.names = {"DNS:localhost"}});
  TlsOptions server = serving(leaf);
  server.cert = leaf.cert + middle.cert;
  TlsOptions options = clientOptions();
  options.crl = {revocationList(middle, {}), revocationList(testAuthority(), {middle.cert})};
  CHECK(failureOf(server, options) == "CERT_REVOKED");
  options.crl = {revocationList(middle, {}), revocationList(testAuthority(), {})};
  CHECK(shaken(server, options).fine());
  options.crl = revocationList(middle, {});
  CHECK(failureOf(server, options) == "UNABLE_TO_GET_CRL");
}

TEST_CASE("without rejectUnauthorized the verdict is kept and nothing fails") {
  TlsOptions options = clientOptions();
  options.rejectUnauthorized = false;
  Ends both = shaken(serverOptions(), options, "example.org");
  REQUIRE(both.fine());
  CHECK_FALSE(both.client.session->authorized());
  CHECK(both.client.session->authorizationError().name() == "ERR_TLS_CERT_ALTNAME_INVALID");
  both.client.send("still works");
  both.run();
  CHECK(both.server.plain == "still works");

  const Identity alone = selfSigned({.names = {"DNS:localhost"}});
  both = shaken(serving(alone), options);
  REQUIRE(both.fine());
  CHECK(both.client.session->authorizationError().name() == "DEPTH_ZERO_SELF_SIGNED_CERT");
  both = shaken(serverOptions(), options);
  CHECK(both.client.session->authorized());
}

// --- servers that ask --------------------------------------------------------------------------

TlsOptions asking() {
  TlsOptions options = serverOptions();
  options.requestCert = true;
  options.ca = testAuthority().cert;
  return options;
}

TlsOptions showing(const Identity& identity) {
  TlsOptions options = clientOptions();
  options.key = identity.key;
  options.cert = identity.cert;
  return options;
}

TEST_CASE("a server that asks gets the client's certificate and verifies it") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    TlsOptions options = asking();
    options.maxVersion = version;
    Ends both = shaken(options, showing(testLeaf()));
    REQUIRE(both.fine());
    CHECK(both.server.session->authorized());
    CHECK_FALSE(both.server.session->authorizationError());
    REQUIRE(both.server.session->peerCertificates().size() == 1);
    CHECK(both.server.session->peerCertificates()[0].subject == "CN=leaf");
    CHECK(both.client.session->certificate()->subject == "CN=leaf");
  }
}

TEST_CASE("a server that asks and insists refuses clients without a certificate") {
  for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
    TlsOptions options = asking();
    options.maxVersion = version;
    Ends both = shaken(options, clientOptions());
    REQUIRE(both.server.failed);
    CHECK(both.server.readies == 0);
    CHECK(both.server.errorName() == "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
    CHECK(both.client.failed);
  }
}

TEST_CASE("a server that asks and insists refuses certificates it does not trust") {
  Ends both = shaken(asking(), showing(selfSigned({})));
  REQUIRE(both.server.failed);
  CHECK(both.server.errorName() == "DEPTH_ZERO_SELF_SIGNED_CERT");
  both = shaken(asking(), showing(issue(testAuthority(), {.startDays = -9, .endDays = -2})));
  CHECK(both.server.errorName() == "CERT_HAS_EXPIRED");
  CHECK(both.client.errorName() == "ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED");
}

TEST_CASE("a server that asks without insisting lets everyone in and knows who is who") {
  TlsOptions options = asking();
  options.rejectUnauthorized = false;
  Ends both = shaken(options, clientOptions());
  REQUIRE(both.fine());
  CHECK_FALSE(both.server.session->authorized());
  CHECK(both.server.session->authorizationError().name() ==
        "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
  both = shaken(options, showing(selfSigned({})));
  REQUIRE(both.fine());
  CHECK_FALSE(both.server.session->authorized());
  CHECK(both.server.session->authorizationError().name() == "DEPTH_ZERO_SELF_SIGNED_CERT");
  both = shaken(options, showing(testLeaf()));
  REQUIRE(both.fine());
  CHECK(both.server.session->authorized());
}

// --- words -------------------------------------------------------------------------------------

TEST_CASE("hosts are written as certificates have them") {
  CHECK(canonicalHost("example.com.") == "example.com");
  CHECK(canonicalHost("example.com") == "example.com");
  CHECK(canonicalHost("fe80::1%eth0") == "fe80::1");
  CHECK(canonicalHost(".") == "");
  CHECK(isAddress("127.0.0.1"));
  CHECK(isAddress("::1"));
  CHECK_FALSE(isAddress("127.0.0"));
  CHECK_FALSE(isAddress("localhost"));
  CHECK_FALSE(isAddress(""));
}

TEST_CASE("a name that begins like an address is asked for and verified as the name it is") {
  for (const char* name :
       {"127.0.0.1.example.com", "127.0.0.1.nip.io", "127.0.0.1evil", "127.0.0.1.5", "127.0.0.1 ",
        " 127.0.0.1", "0127.0.0.1", "127.0.0.01", "127.0.0.1-1"}) {
    INFO(name);
    CHECK_FALSE(isAddress(name));
    TlsOptions asking = clientOptions();
    asking.serverName = name;
    Ends both = shaken(serverOptions(), asking);  // whose certificate has the address in it
    CHECK(both.client.errorName() == "ERR_TLS_CERT_ALTNAME_INVALID");
  }
  const Identity leaf = issue(testAuthority(), {.names = {"DNS:127.0.0.1.nip.io"}});
  TlsOptions asking = clientOptions();
  asking.serverName = "127.0.0.1.nip.io";
  Ends both = shaken(serving(leaf), asking);
  REQUIRE(both.fine());
  CHECK(both.server.session->serverName() == "127.0.0.1.nip.io");
}

TEST_CASE("a certificate with thousands of names is named shortly") {
  CertificateSpec spec;
  spec.names.clear();
  for (int i = 0; i < 2000; ++i) spec.names.push_back("DNS:host" + std::to_string(i) + ".test");
  Ends both = shaken(serving(issue(testAuthority(), spec)), clientOptions());
  CHECK(both.client.errorName() == "ERR_TLS_CERT_ALTNAME_INVALID");
  const std::string message = both.client.session->error().message();
  CHECK(message.find("host1.test") != message.npos);
  CHECK(message.size() < 600);
}

TEST_CASE("a certificate is described in words") {
  Ends both = shaken(serverOptions(), clientOptions());
  const std::vector<Certificate> chain = both.client.session->peerCertificates();
  REQUIRE(chain.size() == 1);
  const Certificate& leaf = chain[0];
  CHECK(leaf.subject == "CN=leaf");
  CHECK(leaf.issuer == "CN=root");
  CHECK(leaf.names ==
        std::vector<std::string>{"DNS:localhost", "DNS:*.example.com", "IP:127.0.0.1", "IP:::1"});
  CHECK(leaf.notAfter - leaf.notBefore == 31 * 86400);
  CHECK(leaf.notBefore > 1700000000);
  CHECK(leaf.fingerprint.size() == 64);
  CHECK_FALSE(leaf.serial.empty());
  CHECK(leaf.der.size() > 200);
  CHECK(leaf.fingerprint == both.server.session->certificate()->fingerprint);
}

TEST_CASE("IPv6 addresses in certificates are written short") {
  const Identity leaf =
      issue(testAuthority(), {.names = {"DNS:localhost", "IP:2001:db8:0:0:1:0:0:1",
                                        "IP:1:2:3:4:5:6:7:8", "IP:fe80::", "IP:0:1:0:1:0:1:0:1"}});
  Ends both = shaken(serving(leaf), clientOptions());
  CHECK(both.client.session->peerCertificates()[0].names ==
        std::vector<std::string>{"DNS:localhost", "IP:2001:db8::1:0:0:1", "IP:1:2:3:4:5:6:7:8",
                                 "IP:fe80::", "IP:0:1:0:1:0:1:0:1"});
}

}  // namespace
}  // namespace warren::test
