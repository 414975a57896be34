// PEM texts: what is read is what stands there. The first byte picks the option that the rest is given
// to; bytes 1..9 in the text stand for whole blocks of a real key, certificate and so on, so that the
// fuzzer mixes and cuts real ones too.
#include <map>
#include <string>
#include <string_view>

#include "fuzz.h"
#include "tls/pem.h"
#include "tls_fixed.h"

namespace warren::fuzz {
namespace {

const std::string kPassphrase = "open sesame";

std::string relabeled(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

const std::map<char, std::string>& blocks() {
  static const std::map<char, std::string> made = [] {
    const Identities& known = identities();
    const std::string& cert = known.localhost.cert;
    std::map<char, std::string> all{
        {1, known.localhost.key},
        {2, cert},
        {3, test::revocationList(known.authority, {cert})},
        {4, test::encrypted(known.localhost.key, kPassphrase)},
        {5, relabeled(cert, "CERTIFICATE", "TRUSTED CERTIFICATE")},
        {6, cert.substr(0, cert.size() / 2)},
        {7, "-----BEGIN "},
        {8, "-----END "},
        {9, "Proc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,0123456789ABCDEF\n\n"},
    };
    return all;
  }();
  return made;
}

std::string expanded(std::string_view text) {
  std::string full;
  for (const char each : text) {
    const auto block = blocks().find(each);
    block != blocks().end() ? full += block->second : full += each;
    if (full.size() > size_t{64} << 10) break;
  }
  return full;
}

bool isKey(std::string_view label) { return label.ends_with("PRIVATE KEY"); }
bool isRevocation(std::string_view label) { return label == "X509 CRL"; }
bool isCertificate(std::string_view label) {
  return label == "CERTIFICATE" || label == "X509 CERTIFICATE" || label == "TRUSTED CERTIFICATE";
}

// How many lines begin a block of the kind.
size_t begun(std::string_view text, bool (*wanted)(std::string_view label)) {
  const std::string_view begin = "-----BEGIN ";
  const std::string_view dashes = "-----";
  size_t count = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    while (line.ends_with('\r') || line.ends_with(' ')) line.remove_suffix(1);
    if (!line.starts_with(begin) || !line.ends_with(dashes)) continue;
    line.remove_prefix(begin.size());
    count += wanted(line.substr(0, line.size() - std::min(line.size(), dashes.size())));
  }
  return count;
}

template <class T>
std::string outcome(const Result<std::vector<tls::Placed<T>>>& read) {
  if (!read) return read.error().message();
  std::string all;
  for (const tls::Placed<T>& each : *read) {
    require(each.item != nullptr);
    all += each.place + "\n";
  }
  return all;
}

// Every block of the kind is read, or the error says which one is not, and where.
template <class Read>
void requireRead(const std::string& text, std::string_view option, bool (*wanted)(std::string_view),
                 Read read) {
  const auto items = read(PemList(text));
  const std::string told = outcome(items);
  require(told.find(option) != std::string::npos);
  if (items) {
    require(!items->empty() && items->size() == begun(text, wanted));
  } else {
    require(items.error().origin() == Origin::usage && items.error().step() == Step::options);
  }
  // Line ends of the other kind are as good.
  if (text.find('\r') == std::string::npos) {
    require(outcome(read(PemList(relabeled(text, "\n", "\r\n")))) == told);
  }
  // Two texts are read as one after the other; no file and an empty one are refused.
  const auto twice = read(PemList{Pem(text), Pem(text)});
  require(twice.operator bool() == items.operator bool());
  require(!items || twice->size() == 2 * items->size());
  require(!read(PemList{Pem(text), file("")}) && !read(PemList{file("/dev/null")}));
  require(!read(PemList(std::vector<Pem>{})));
  require(read(PemList())->empty());
}

void run(Bytes bytes) {
  Input input(bytes);
  const uint8_t option = input.byte();
  const std::string text = expanded(asText(input.rest()));
  const std::string passphrase = option % 2 != 0 ? kPassphrase : "";
  switch (option / 2 % 4) {
    case 0:
      return requireRead(text, "key", isKey,
                         [&](const PemList& list) { return tls::readKeys(list, passphrase); });
    case 1:
      return requireRead(text, "cert", isCertificate,
                         [](const PemList& list) { return tls::readCertificates(list, "cert"); });
    case 2:
      return requireRead(text, "crl", isRevocation, tls::readRevocations);
    default:
      require(tls::readableCertificates(text).size() <= begun(text, isCertificate));
  }
}

const Target target("pem", run);

}  // namespace
}  // namespace warren::fuzz
