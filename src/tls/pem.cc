#include "tls/pem.h"

#include <openssl/bio.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>

namespace warren::tls {
namespace {

constexpr size_t kMaxFile = size_t{16} << 20;
constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kEnd = "-----END ";
constexpr std::string_view kDashes = "-----";

struct Block {
  std::string_view label;  // "CERTIFICATE"
  std::string_view text;   // with its BEGIN and END lines
  std::string place;
};

// Walks over the blocks of one text.
class Scanner {
 public:
  Scanner(std::string_view text, std::string place) : text_(text), place_(std::move(place)) {}

  // Finds the next block. False at the end of the text, and after something that is no PEM: then
  // `problem` says what.
  bool next(Block& block) {
    size_t start = 0;
    std::string_view line;
    do {
      start = at_;
      if (!nextLine(line)) return false;
    } while (!line.starts_with(kBegin) || !line.ends_with(kDashes));
    block.label = labelOf(line, kBegin);
    block.place =
        place_ + ", block " + std::to_string(++blocks_) + " (line " + std::to_string(lines_) + ")";
    do {
      if (!nextLine(line)) return stop(block, "has no END line");
      if (line.starts_with(kBegin)) return stop(block, "has another BEGIN line in it");
    } while (!line.starts_with(kEnd) || !line.ends_with(kDashes));
    if (labelOf(line, kEnd) != block.label) return stop(block, "ends as something else");
    block.text = text_.substr(start, at_ - start);
    return true;
  }

  const std::string& problem() const { return problem_; }

 private:
  bool nextLine(std::string_view& line) {
    if (at_ >= text_.size()) return false;
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    line = text_.substr(at_, end - at_);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    at_ = end + 1 < text_.size() ? end + 1 : text_.size();
    ++lines_;
    return true;
  }

  static std::string_view labelOf(std::string_view line, std::string_view lead) {
    line.remove_prefix(lead.size());
    return line.substr(0, line.size() - std::min(line.size(), kDashes.size()));
  }

  bool stop(const Block& block, const char* why) {
    problem_ = block.place + " " + why;
    return false;
  }

  std::string_view text_;
  std::string place_;
  std::string problem_;
  size_t at_ = 0;
  size_t lines_ = 0;
  size_t blocks_ = 0;
};

bool isKey(std::string_view label) { return label.ends_with("PRIVATE KEY"); }
bool isCertificate(std::string_view label) {
  return label == "CERTIFICATE" || label == "X509 CERTIFICATE" || label == "TRUSTED CERTIFICATE";
}
bool isRevocation(std::string_view label) { return label == "X509 CRL"; }

bssl::UniquePtr<BIO> bioOf(std::string_view text) {
  return bssl::UniquePtr<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string pathError(int number) {
  return std::error_code(number, std::generic_category()).message();
}

// --- the three kinds ---------------------------------------------------------------------------

int givePassphrase(char* buffer, int size, int, void* passphrase) {
  const std::string& given = *static_cast<const std::string*>(passphrase);
  if (size < 0 || given.size() > static_cast<size_t>(size)) return -1;
  std::copy(given.begin(), given.end(), buffer);  // with its size, so without a NUL
  return static_cast<int>(given.size());
}

bool isEncrypted(const Block& block) {
  return block.label == "ENCRYPTED PRIVATE KEY" ||
         block.text.find("\nProc-Type: 4,ENCRYPTED") != std::string_view::npos;
}

std::string keyProblem(const Block& block, uint32_t error) {
  const std::string reason = reasonOf(error);
  if (!isEncrypted(block)) return "is no readable key: " + reason;
  const bool foreign = reason.starts_with("UNSUPPORTED") || reason.starts_with("UNKNOWN");
  if (foreign) return "is encrypted in a way that BoringSSL cannot read: " + reason;
  return "does not open with the passphrase: " + reason;
}

Result<bssl::UniquePtr<EVP_PKEY>> parseKey(const Block& block, const std::string& passphrase) {
  if (isEncrypted(block) && passphrase.empty()) {
    return refusal(Usage::missing, block.place + " is encrypted, and there is no passphrase");
  }
  const bssl::UniquePtr<BIO> bio = bioOf(block.text);
  if (!bio) return outOfMemory(Step::options);
  bssl::UniquePtr<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, givePassphrase,
                                                        const_cast<std::string*>(&passphrase)));
  const uint32_t error = ErrorScope::take();
  if (key) return key;
  return refusal(Usage::invalid, block.place + " " + keyProblem(block, error));
}

template <class T>
Result<bssl::UniquePtr<T>> parseWith(T* (*read)(BIO*, T**, pem_password_cb*, void*),
                                     const Block& block, const char* what) {
  const bssl::UniquePtr<BIO> bio = bioOf(block.text);
  if (!bio) return outOfMemory(Step::options);
  bssl::UniquePtr<T> item(read(bio.get(), nullptr, nullptr, nullptr));
  const uint32_t error = ErrorScope::take();
  if (item) return item;
  return refusal(Usage::invalid, block.place + " is no readable " + what + ": " + reasonOf(error));
}

Result<bssl::UniquePtr<X509>> parseCertificate(const Block& block) {
  // The AUX form reads "TRUSTED CERTIFICATE" as well.
  return parseWith<X509>(PEM_read_bio_X509_AUX, block, "certificate");
}

Result<bssl::UniquePtr<X509_CRL>> parseRevocation(const Block& block) {
  return parseWith<X509_CRL>(PEM_read_bio_X509_CRL, block, "revocation list");
}

// Reads the blocks that `wanted` accepts with `parse`, from every text of the list.
template <class T, class Wanted, class Parse>
Result<std::vector<Placed<T>>> readAll(const PemList& list, std::string_view option, Wanted wanted,
                                       Parse parse) {
  std::vector<Placed<T>> items;
  if (list.given() && list.empty()) {
    return refusal(Usage::missing, std::string(option) + " is an empty list");
  }
  const bool several = list.end() - list.begin() > 1;
  size_t index = 0;
  for (const Pem& pem : list) {
    std::string place(option);
    if (several) place += "[" + std::to_string(index++) + "]";
    if (pem.inFile) place += " \"" + pem.text + "\"";
    Result<std::string> text = readPem(pem, place);
    if (!text) return text.error();
    Scanner scanner(*text, place);
    const size_t before = items.size();
    for (Block block; scanner.next(block);) {
      if (!wanted(block.label)) continue;
      Result<bssl::UniquePtr<T>> item = parse(block);
      if (!item) return item.error();
      items.push_back({std::move(*item), std::move(block.place)});
    }
    if (!scanner.problem().empty()) return refusal(Usage::invalid, scanner.problem());
    if (items.size() == before) return refusal(Usage::invalid, place + " has no PEM block for it");
  }
  return items;
}

}  // namespace

Result<std::string> readPem(const Pem& pem, const std::string& place) {
  if (!pem.inFile && pem.text.size() <= kMaxFile) return pem.text;
  if (!pem.inFile) return refusal(Usage::tooMuch, place + " is above 16 MiB");
  errno = 0;
  std::ifstream file(pem.text, std::ios::binary);
  std::string text;
  char part[4096];
  while (file && text.size() <= kMaxFile) {
    file.read(part, sizeof part);
    text.append(part, static_cast<size_t>(file.gcount()));
  }
  if (text.size() > kMaxFile) return refusal(Usage::tooMuch, place + " is above 16 MiB");
  // Opening a directory succeeds; only reading it tells.
  if (file.eof() && errno == 0) return text;
  return refusal(Usage::invalid, place + " cannot be read: " + pathError(errno));
}

Result<std::vector<Placed<EVP_PKEY>>> readKeys(const PemList& list, const std::string& passphrase) {
  const ErrorScope scope;
  return readAll<EVP_PKEY>(list, "key", isKey, [&passphrase](const Block& block) {
    return parseKey(block, passphrase);
  });
}

Result<std::vector<Placed<X509>>> readCertificates(const PemList& list, std::string_view option) {
  const ErrorScope scope;
  return readAll<X509>(list, option, isCertificate, parseCertificate);
}

Result<std::vector<Placed<X509_CRL>>> readRevocations(const PemList& list) {
  const ErrorScope scope;
  return readAll<X509_CRL>(list, "crl", isRevocation, parseRevocation);
}

std::vector<bssl::UniquePtr<X509>> readableCertificates(const std::string& text) {
  const ErrorScope scope;
  std::vector<bssl::UniquePtr<X509>> certificates;
  Scanner scanner(text, {});
  for (Block block; scanner.next(block);) {
    if (!isCertificate(block.label)) continue;
    Result<bssl::UniquePtr<X509>> certificate = parseCertificate(block);
    if (certificate) certificates.push_back(std::move(*certificate));
  }
  return certificates;
}

}  // namespace warren::tls
