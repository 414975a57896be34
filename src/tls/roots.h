// The certificates that the system trusts.
#pragma once

#include <openssl/x509.h>

#include <string>
#include <vector>

#include "tls/boring.h"

namespace warren::tls {

struct RootPlaces {
  std::vector<std::string> files;        // of PEM blocks
  std::vector<std::string> directories;  // of such files
  bool all = false;                      // read all of them, not just the first that has any
};

// SSL_CERT_FILE and SSL_CERT_DIR (several, with colons between) if one of them is set; otherwise
// where Linux distributions, macOS and the BSDs keep them.
RootPlaces rootPlaces();

std::vector<bssl::UniquePtr<X509>> readRoots(const RootPlaces& places);

struct Roots {
  std::vector<bssl::UniquePtr<X509>> certificates;
  bssl::UniquePtr<X509_STORE> store;  // of them; null without memory
};

// Read at the first call, then shared by the whole process. Any thread.
const Roots& systemRoots();

}  // namespace warren::tls
