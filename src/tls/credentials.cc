#include <openssl/sha.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "tls/callbacks.h"
#include "tls/credentials_impl.h"

namespace warren::tls {
namespace {

// In the place of a list that was not given, when another one was set before. The first has a group
// that old versions of BoringSSL do not know.
constexpr const char* kUsualCurves[] = {"X25519MLKEM768:X25519:P-256:P-384", "X25519:P-256:P-384"};

// BoringSSL's own list without those whose key exchange is RSA: whoever gets the key later reads all
// that was said. 3DES goes with them.
constexpr const char* kUsualCiphers = "ALL:!kRSA";

bool isVersion(TlsVersion version) {
  return version == TlsVersion::tls12 || version == TlsVersion::tls13;
}

std::string number(size_t value) { return std::to_string(value); }

Result<void> checkNumbers(const TlsOptions& options) {
  if (!isVersion(options.minVersion)) {
    return refusal(Usage::invalid, "minVersion is neither tls12 nor tls13");
  }
  if (!isVersion(options.maxVersion)) {
    return refusal(Usage::invalid, "maxVersion is neither tls12 nor tls13");
  }
  if (options.minVersion > options.maxVersion) {
    return refusal(Usage::conflict, "minVersion is above maxVersion");
  }
  if (options.maxSendFragment < 512 || options.maxSendFragment > 16384) {
    return refusal(Usage::outOfRange,
                   "maxSendFragment " + number(options.maxSendFragment) + " is outside 512..16384");
  }
  // A message of TLS has three bytes for its length, and BoringSSL takes 16 KiB of any message.
  constexpr size_t kMostChain = (size_t{16} << 20) - 1;
  constexpr size_t kLeastChain = 16384;
  if (options.maxCertificateChain < kLeastChain || options.maxCertificateChain > kMostChain) {
    return refusal(Usage::outOfRange, "maxCertificateChain " + number(options.maxCertificateChain) +
                                          " is outside 16384..16777215");
  }
  if (!options.handshakeTimeout.valid()) {
    return refusal(Usage::outOfRange,
                   std::string("handshakeTimeout ") + options.handshakeTimeout.problem());
  }
  return {};
}

Result<std::string> wireForm(const std::vector<std::string>& protocols) {
  std::string wire;
  for (size_t index = 0; index < protocols.size(); ++index) {
    const std::string& name = protocols[index];
    if (name.empty() || name.size() > 255) {
      return refusal(Usage::outOfRange, "alpn[" + number(index) + "] of " + number(name.size()) +
                                            " bytes is outside 1..255");
    }
    wire += static_cast<char>(name.size());
    wire += name;
  }
  if (wire.size() <= 65535) return wire;
  return refusal(Usage::tooMuch, "alpn of " + number(wire.size()) + " bytes is above 65535");
}

Result<std::vector<TicketKey>> readTicketKeys(const std::vector<std::string>& texts) {
  std::vector<TicketKey> keys;
  for (size_t index = 0; index < texts.size(); ++index) {
    const std::string place = "ticketKeys[" + number(index) + "]";
    if (texts[index].size() != sizeof(TicketKey)) {
      return refusal(Usage::outOfRange,
                     place + " has " + number(texts[index].size()) + " bytes and not 48");
    }
    TicketKey key;
    std::memcpy(&key, texts[index].data(), sizeof key);
    for (const TicketKey& other : keys) {
      if (other.name != key.name) continue;
      return refusal(Usage::conflict, place + " begins with the same 16 bytes as another one");
    }
    keys.push_back(key);
  }
  return keys;
}
static_assert(sizeof(TicketKey) == 48, "read from the user's bytes as it is");

Result<std::string> curveList(const std::vector<std::string>& curves) {
  std::string list;
  for (const std::string& curve : curves) {
    const bool plain =
        !curve.empty() && curve.find_first_of(std::string_view(":\0", 2)) == std::string::npos;
    if (!plain) return refusal(Usage::invalid, "curves has \"" + curve + "\", which is no group");
    list += (list.empty() ? "" : ":") + curve;
  }
  return list;
}

// --- what the context is told ------------------------------------------------------------------

Result<void> setCiphers(SSL_CTX* context, const std::string& chosen) {
  const std::string ciphers = chosen.empty() ? kUsualCiphers : chosen;
  const bool plain = ciphers.find('\0') == std::string::npos;
  if (plain && SSL_CTX_set_strict_cipher_list(context, ciphers.c_str())) return {};
  const std::string reason = reasonOf(ErrorScope::take());
  const bool tls13 = ciphers.find("TLS_AES_") != std::string::npos ||
                     ciphers.find("TLS_CHACHA20_") != std::string::npos;
  return refusal(Usage::invalid,
                 "ciphers \"" + ciphers + "\": " + (tls13 ? "those of TLS 1.3 are fixed" : reason));
}

Result<void> setCurves(SSL_CTX* context, const std::vector<std::string>& names,
                       const std::string& list) {
  if (list.empty() || SSL_CTX_set1_curves_list(context, list.c_str())) return {};
  ErrorScope::forget();
  for (const std::string& name : names) {
    if (SSL_CTX_set1_curves_list(context, name.c_str())) continue;
    ErrorScope::forget();
    return refusal(Usage::invalid, "curves has \"" + name + "\", which BoringSSL does not know");
  }
  return refusal(Usage::invalid, "curves \"" + list + "\" cannot be a list: one is named twice");
}

Result<void> setSimple(Credentials& credentials, const TlsOptions& options) {
  SSL_CTX* const context = credentials.context.get();
  // Strict on purpose, and no renegotiation: BoringSSL's default is never.
  SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  bool done = SSL_CTX_set_min_proto_version(context, static_cast<uint16_t>(options.minVersion)) &&
              SSL_CTX_set_max_proto_version(context, static_cast<uint16_t>(options.maxVersion)) &&
              SSL_CTX_set_verify_algorithm_prefs(context, kSignatures, std::size(kSignatures));
  if (done && credentials.role == Role::client && !credentials.alpn.empty()) {
    // Unlike the others, this one gives 0 when it went well.
    done = SSL_CTX_set_alpn_protos(context, octets(credentials.alpn),
                                   static_cast<unsigned>(credentials.alpn.size())) == 0;
  }
  ErrorScope::forget();
  if (!done) return outOfMemory(Step::options);
  return {};
}

Result<void> copySettings(Credentials& credentials, const TlsOptions& options) {
  Result<std::string> alpn = wireForm(options.alpn);
  if (!alpn) return alpn.error();
  Result<std::vector<TicketKey>> ticketKeys = readTicketKeys(options.ticketKeys);
  if (!ticketKeys) return ticketKeys.error();
  Result<std::string> curves = curveList(options.curves);
  if (!curves) return curves.error();
  if (options.serverName.find('\0') != std::string::npos || options.serverName.size() > 255) {
    return refusal(Usage::invalid, "serverName is above 255 bytes or has a NUL byte in it");
  }
  credentials.alpn = std::move(*alpn);
  credentials.ticketKeys = std::move(*ticketKeys);
  credentials.curves = std::move(*curves);
  credentials.serverName = options.serverName;
  credentials.ciphers = options.ciphers;
  credentials.requestCert = options.requestCert;
  credentials.rejectUnauthorized = options.rejectUnauthorized;
  credentials.sessionTickets = options.sessionTickets;
  credentials.cacheSessions = options.cacheSessions && credentials.role == Role::client;
  credentials.tolerateTruncation = options.tolerateTruncation;
  credentials.ocspResponse = options.ocspResponse;
  credentials.minVersion = options.minVersion;
  credentials.maxVersion = options.maxVersion;
  credentials.maxSendFragment = options.maxSendFragment;
  credentials.maxCertificateChain = options.maxCertificateChain;
  credentials.keylog = options.keylog;
  return {};
}

Result<void> setPairs(Credentials& credentials, const TlsOptions& options) {
  Result<std::vector<Pair>> pairs = makePairs(options);
  if (!pairs) return pairs.error();
  if (pairs->empty() && credentials.role == Role::server) {
    return refusal(Usage::missing, "key and cert are required to listen");
  }
  credentials.pairs = std::move(*pairs);
  return {};
}

// What most sessions show, so that they have it from the start; Callbacks::choosePair has the last word.
Result<void> setFirstPair(const Credentials& credentials) {
  if (credentials.pairs.empty()) return {};
  const Pair& pair = credentials.pairs.front();
  const std::vector<CRYPTO_BUFFER*> chain = pair.buffers();
  const bool done = SSL_CTX_set_chain_and_key(credentials.context.get(), chain.data(), chain.size(),
                                              pair.key.get(), nullptr) == 1;
  const std::string reason = reasonOf(ErrorScope::take());
  if (!done) return refusal(Usage::invalid, "cert: " + reason);
  return {};
}

Result<void> setAll(Credentials& credentials, const TlsOptions& options) {
  if (Result<void> settings = copySettings(credentials, options); !settings) return settings;
  if (Result<void> pairs = setPairs(credentials, options); !pairs) return pairs;
  if (Result<void> trust = setTrust(credentials, options); !trust) return trust;
  const ErrorScope scope;
  SSL_CTX* const context = credentials.context.get();
  if (Result<void> simple = setSimple(credentials, options); !simple) return simple;
  if (Result<void> first = setFirstPair(credentials); !first) return first;
  if (Result<void> ciphers = setCiphers(context, options.ciphers); !ciphers) return ciphers;
  if (Result<void> curves = setCurves(context, options.curves, credentials.curves); !curves) {
    return curves;
  }
  Callbacks::install(context, credentials);
  return {};
}

bool setUsualCurves(SSL* ssl) {
  const bool done =
      std::any_of(std::begin(kUsualCurves), std::end(kUsualCurves),
                  [ssl](const char* list) { return SSL_set1_curves_list(ssl, list); });
  if (done) ErrorScope::forget();
  return done;
}

}  // namespace

bool Credentials::apply(SSL* ssl) const {
  if (sessionTickets) {
    SSL_clear_options(ssl, SSL_OP_NO_TICKET);
  } else {
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
  }
  if (role == Role::server) SSL_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_set_max_cert_list(ssl, maxCertificateChain);
  const bool grouped =
      curves.empty() ? setUsualCurves(ssl) : SSL_set1_curves_list(ssl, curves.c_str()) != 0;
  return grouped && SSL_set_max_send_fragment(ssl, maxSendFragment) &&
         SSL_set_min_proto_version(ssl, static_cast<uint16_t>(minVersion)) &&
         SSL_set_max_proto_version(ssl, static_cast<uint16_t>(maxVersion));
}

// What the headers promise the loader may not keep: the names of the functions are OpenSSL's too.
Result<void> checkLibrary(std::string_view loaded) {
  if (loaded == "BoringSSL") return {};
  return refusal(Usage::unsupported, "TLS needs BoringSSL, but this process has loaded \"" +
                                         std::string(loaded) + "\" in its place");
}

Result<std::shared_ptr<const Credentials>> makeCredentials(const TlsOptions& options, Role role) {
  if (Result<void> library = checkLibrary(OpenSSL_version(OPENSSL_VERSION)); !library) {
    return library.error();
  }
  if (Result<void> numbers = checkNumbers(options); !numbers) return numbers.error();
  auto credentials = std::make_shared<Credentials>();
  {
    const ErrorScope scope;
    credentials->context.reset(SSL_CTX_new(TLS_method()));
    ErrorScope::forget();
  }
  credentials->role = role;
  if (!credentials->context) return outOfMemory(Step::options);
  if (Result<void> all = setAll(*credentials, options); !all) return all.error();
  return std::shared_ptr<const Credentials>(std::move(credentials));
}

}  // namespace warren::tls
