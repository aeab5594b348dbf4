fn main() {
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", std::env::var("DEP_GRAFTAGE_OPTIM_LIBTORCH").unwrap());
}
