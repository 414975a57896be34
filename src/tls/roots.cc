#include "tls/roots.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "tls/pem.h"

namespace warren::tls {
namespace {

constexpr const char* kFiles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                 // Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",                   // Fedora
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  // Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",                             // openSUSE
    "/etc/ssl/cert.pem",                                  // macOS, OpenBSD, FreeBSD, Alpine
    "/usr/local/etc/ssl/cert.pem",                        // FreeBSD
    "/usr/local/share/certs/ca-root-nss.crt",             // FreeBSD, DragonFly
    "/etc/openssl/certs/ca-certificates.crt",             // NetBSD
};

constexpr const char* kDirectories[] = {
    "/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/openssl/certs",
    "/system/etc/security/cacerts",  // Android
};

void append(std::vector<bssl::UniquePtr<X509>>& roots, const std::string& path) {
  const Result<std::string> text = readPem(Pem(path, true), path);
  if (!text) return;
  for (bssl::UniquePtr<X509>& root : readableCertificates(*text)) roots.push_back(std::move(root));
}

void appendDirectory(std::vector<bssl::UniquePtr<X509>>& roots, const std::string& path) {
  std::error_code problem;
  std::filesystem::directory_iterator entry(path, problem);
  for (; !problem && entry != std::filesystem::directory_iterator(); entry.increment(problem)) {
    std::error_code unknown;
    if (entry->is_regular_file(unknown)) append(roots, entry->path().string());
  }
}

std::vector<std::string> splitAtColons(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(':', start), text.size());
    if (end > start) parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

Roots load() {
  Roots roots;
  roots.certificates = readRoots(rootPlaces());
  const ErrorScope scope;
  roots.store.reset(X509_STORE_new());
  for (const bssl::UniquePtr<X509>& root : roots.certificates) {
    if (!roots.store || !X509_STORE_add_cert(roots.store.get(), root.get())) roots.store.reset();
  }
  ErrorScope::forget();
  return roots;
}

}  // namespace

RootPlaces rootPlaces() {
  // Reading is safe while nobody writes: a program that calls setenv does so before it has threads.
  const char* const file = std::getenv("SSL_CERT_FILE");        // NOLINT(concurrency-mt-unsafe)
  const char* const directories = std::getenv("SSL_CERT_DIR");  // NOLINT(concurrency-mt-unsafe)
  RootPlaces places;
  if (file != nullptr && *file != '\0') places.files.emplace_back(file);
  if (directories != nullptr) places.directories = splitAtColons(directories);
  places.all = true;
  if (!places.files.empty() || !places.directories.empty()) return places;
  places.files.assign(std::begin(kFiles), std::end(kFiles));
  places.directories.assign(std::begin(kDirectories), std::end(kDirectories));
  places.all = false;
  return places;
}

std::vector<bssl::UniquePtr<X509>> readRoots(const RootPlaces& places) {
  std::vector<bssl::UniquePtr<X509>> roots;
  for (const std::string& file : places.files) {
    if (places.all || roots.empty()) append(roots, file);
  }
  for (const std::string& directory : places.directories) {
    if (places.all || roots.empty()) appendDirectory(roots, directory);
  }
  return roots;
}

const Roots& systemRoots() {
  static const Roots& roots = *new Roots(load());  // as SessionCache::ofProcess
  return roots;
}

}  // namespace warren::tls
